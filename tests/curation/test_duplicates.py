"""Groups of near duplicates are those of a comparison of every pair, and what is dropped can be put back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nearfar.curation import duplicates
from nearfar.curation.copies import chains, near_pairs, stars, suggest
from nearfar.errors import ConfigError, DataError
from nearfar.store import Store
from saying import Command

RNG = np.random.default_rng(0)
BASE = RNG.standard_normal((60, 12))
VECTORS = np.concatenate([BASE, BASE[:9] + 0.05 * RNG.standard_normal((9, 12)), BASE[:2], np.zeros((1, 12))])
VECTORS = VECTORS.astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "s", 12, columns={"label": "string"})
    made.add([f"r{row}" for row in range(len(VECTORS))], VECTORS, {"label": ["a", "b"] * 36})
    return made


def cosine(i: int, j: int) -> float:
    a, b = VECTORS[i].astype(np.float64), VECTORS[j].astype(np.float64)
    length = float(np.sqrt(a @ a) * np.sqrt(b @ b))
    return float(a @ b) / length if length else 0.0


@pytest.mark.parametrize("sizes", [(7, 5, 3), (32768, 8192, 2048)])
def test_pairs_are_those_of_every_comparison(store: Store, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch):
    for name, size in zip(("_OUTER", "_INNER", "_TILE"), sizes, strict=True):
        monkeypatch.setattr(f"nearfar.curation.copies.{name}", size)
    pairs, scores = near_pairs(store, 0.6)
    naive = {(i, j): cosine(i, j) for i in range(72) for j in range(i + 1, 72) if cosine(i, j) >= 0.6}
    assert list(map(tuple, pairs.tolist())) == list(naive)
    np.testing.assert_allclose(scores, list(naive.values()), atol=1e-6)


def test_copies_are_equal_at_a_threshold_of_one(store: Store):
    found = duplicates(store, 1.0)
    assert {(g.keep, *g.drop) for g in found.groups} == {("r0", "r69"), ("r1", "r70")}


def test_every_row_that_goes_is_near_to_the_one_that_stays(store: Store):
    found = duplicates(store, 0.7)
    rows = [int(one[1:]) for g in found.groups for one in (g.keep, *g.drop)]
    assert len(rows) == len(set(rows)) and len(found.drop) >= 11
    for group in found.groups:
        for one, score in zip(group.drop, group.scores, strict=True):
            assert score == pytest.approx(cosine(int(group.keep[1:]), int(one[1:])), abs=1e-6) and score >= 0.7
    kept = sorted(set(range(72)) - {int(one[1:]) for one in found.drop})
    assert all(
        cosine(int(one[1:]), int(group.keep[1:])) >= 0.7 for group in found.groups for one in group.drop
    ) and len(kept) == 72 - len(found.drop)


def test_a_chain_of_small_steps_is_one_group_only_when_asked():
    steps = np.stack([np.arange(9), np.arange(1, 10)], axis=1)
    scores = np.full(9, 0.96)
    assert [(keep, rows) for keep, rows, _ in chains(10, steps, scores)] == [(1, [0, 2, 3, 4, 5, 6, 7, 8, 9])]
    assert max(len(rows) for _, rows, _ in stars(10, steps, scores)) == 2


def test_chains_are_the_components_of_scikit_learn(store: Store):
    from sklearn.cluster import DBSCAN

    found = duplicates(store, 0.65, grouping="chain")
    with np.errstate(invalid="ignore"):
        known = DBSCAN(eps=0.35, min_samples=2, metric="cosine").fit_predict(VECTORS[:-1])
    theirs = {frozenset(np.flatnonzero(known == one).tolist()) for one in range(known.max() + 1)}
    assert {frozenset(int(one[1:]) for one in (g.keep, *g.drop)) for g in found.groups} == theirs


def test_the_suggested_threshold_parts_copies_from_the_rest(store: Store):
    limit = suggest(store)
    copies = [cosine(row, 60 + row) for row in range(9)]
    others = [cosine(i, j) for i in range(60) for j in range(i + 1, 60)]
    assert max(others) < limit <= min(copies)
    assert duplicates(store).suggested and len(duplicates(store).drop) == 11


def test_a_filter_chooses_the_rows(store: Store):
    found = duplicates(store, 0.99, where="label = 'a'")
    assert found.rows == 36 and {int(one[1:]) % 2 for one in found.drop} <= {0}


def test_what_cannot_be_is_said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for bad in (0.0, 1.5, -1.0):
        with pytest.raises(ConfigError, match="above 0 and at most 1"):
            duplicates(store, bad)
    with pytest.raises(ConfigError, match="star or chain"):
        duplicates(store, 0.9, grouping="x")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="has 0 rows, and this compares at least 2"):
        duplicates(Store.create(tmp_path / "empty", 3))
    with pytest.raises(DataError, match=r"more than 10 pairs .* choose a higher threshold"):
        near_pairs(store, 0.1, most=10)


def test_the_command_lists_shows_drops_and_gives_back(store: Store, tmp_path: Path, command: Command):
    said = command("dedupe", store.path, "--threshold", 0.95, "--out", tmp_path / "d.csv", "--report",
                   tmp_path / "d.html", "--json", tmp_path / "d.json", "--drop")  # fmt: skip
    assert said.code == 0 and "11 of 72 rows may go" in said.out and "11 rows taken out" in said.out
    assert (tmp_path / "d.csv").read_text().splitlines()[0] == "group,id,what,cosine"
    assert len(json.loads((tmp_path / "d.json").read_text())["groups"]) == 9
    page = (tmp_path / "d.html").read_text()
    assert page.count('class="group"') == 9 and "http" not in page.replace("http-equiv", "")
    assert len(Store.open(store.path)) == 61
    version = said.out.split()[-1]
    assert command("store", "restore", store.path, version).code == 0 and len(Store.open(store.path)) == 72
    said = command("dedupe", store.path, "--threshold", 2)
    assert said.code == 2 and "above 0 and at most 1" in said.err
