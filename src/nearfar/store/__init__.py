"""Vectors on disk with ids, columns and their origin, in a LanceDB table: written in steps, searched, versioned."""

from __future__ import annotations

from .columns import put_columns
from .files import export_file, import_file
from .ids import only, read_ids
from .index import Recall
from .provenance import Provenance
from .search import Hit
from .table import Store

__all__ = ["Hit", "Provenance", "Recall", "Store", "export_file", "import_file", "only", "put_columns", "read_ids"]
