"""The report: one self-contained page that says what a run did and how good its vectors are."""

from __future__ import annotations

from nearfar.report.data import Neighbours, ReportData
from nearfar.report.page import render, write_report

__all__ = ["Neighbours", "ReportData", "render", "write_report"]
