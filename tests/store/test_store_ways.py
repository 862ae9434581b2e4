"""Compact vectors, scores against hubs, search by words and fused lists: each beside plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError
from nearfar.store import Store, search
from nearfar.store.compact import by_compact
from nearfar.store.hubs import SAMPLE, hubness
from nearfar.store.lexical import fused

ROWS, WIDTH = 500, 32
RNG = np.random.default_rng(0)
VECTORS = (RNG.standard_normal((ROWS, 6)) @ RNG.standard_normal((6, WIDTH)) + 0.4).astype(np.float32)
QUERIES = (VECTORS[:5] + 0.3 * RNG.standard_normal((5, WIDTH))).astype(np.float32)
WORDS = ["red", "fox", "dog", "runs", "over", "the", "lazy", "hill"]
TEXTS = [" ".join(RNG.choice(WORDS, 1 + row % 6)) for row in range(ROWS)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store.create(tmp_path_factory.mktemp("ways") / "s", WIDTH, columns={"text": "string", "year": "int64"})
    made.add([f"r{row}" for row in range(ROWS)], VECTORS, {"text": TEXTS, "year": list(range(ROWS))})
    return made


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


def best(scores: list[float], k: int) -> list[str]:
    return [f"r{row}" for row in sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:k]]


@pytest.mark.parametrize(("kind", "least"), [("int8", 0.999), ("binary", 0.8), ("16", 0.9)])
def test_compact_vectors_find_what_they_say_and_score_in_full(
    store: Store, kind: str, least: float, monkeypatch: pytest.MonkeyPatch
):
    made = store.compact_vectors(kind)
    assert made.size == {"int8": WIDTH, "binary": WIDTH // 8, "16": 64}[kind]
    monkeypatch.setattr(search, "FEW", 0)  # so that the filter comes inside
    for where, rows in ((None, range(ROWS)), ("year > 200", range(201, ROWS))):
        shares = []
        for query, found in zip(QUERIES, store.search(QUERIES, 10, where, compact=kind), strict=True):
            truth = sorted(((cosine(query, VECTORS[row]), f"r{row}") for row in rows), reverse=True)[:10]
            known = {name: score for score, name in truth}
            shares.append(len(known.keys() & {hit.id for hit in found}) / 10)
            assert len(found) == 10 and all(int(hit.id[1:]) in rows for hit in found)
            assert all(hit.score == pytest.approx(cosine(query, VECTORS[int(hit.id[1:])]), abs=2e-9) for hit in found)
        assert np.mean(shares) >= least
    assert made.recall >= least and made.queries == 100
    again = Store.open(store.path)
    monkeypatch.setattr("nearfar.store.compact._made", None)  # they come from the file
    assert again.compact_vectors(kind) == made
    assert again.search(QUERIES, 3, compact=kind) == store.search(QUERIES, 3, compact=kind)


def test_compact_vectors_are_made_again_when_rows_change_and_few_rows_are_compared_in_full(tmp_path: Path):
    made = Store.create(tmp_path / "s", WIDTH, columns={"year": "int64"})
    made.add([f"r{row}" for row in range(60)], VECTORS[:60], {"year": list(range(60))})
    assert made.search(VECTORS[70], 1, compact="int8")[0][0].id != "late"
    made.add(["late"], VECTORS[70:71])
    assert made.search(VECTORS[70], 1, compact="int8")[0][0].id == "late"
    assert [hit.id for hit in made.search(QUERIES[0], 5, "year IN (3, 9)", compact="binary")[0]] == best(
        [cosine(QUERIES[0], VECTORS[row]) if row in (3, 9) else -9 for row in range(60)], 2
    )
    (tmp_path / "s" / "beside" / "compact-int8.npz").write_bytes(b"broken")
    assert Store.open(tmp_path / "s").search(VECTORS[70], 1, compact="int8")[0][0].id == "late"
    for kind in ("int4", "0", str(WIDTH)):
        with pytest.raises(ConfigError, match="compact vectors are int8, binary, or a width below"):
            made.search(QUERIES, 1, compact=kind)
    assert by_compact(made, QUERIES[:1], 2, "year > 5000", "int8")[0][0].size == 0
    with pytest.raises(ConfigError, match="search by one of"):
        made.search(QUERIES, 1, compact="int8", approximate=True)


def test_csls_and_mutual_proximity_are_what_plain_loops_give(store: Store):
    assert ROWS <= SAMPLE
    table = [[cosine(one, other) for other in VECTORS] for one in VECTORS]
    others = [[line[row] for row in range(ROWS) if row != own] for own, line in enumerate(table)]
    near = [sum(sorted(line)[-10:]) / 10 for line in others]

    def usual(distances: list[float]) -> tuple[float, float]:
        mean = sum(distances) / len(distances)
        return mean, math.sqrt(sum((one - mean) ** 2 for one in distances) / len(distances))

    def rarer(distance: float, mean: float, spread: float) -> float:
        return 0.5 * math.erfc((distance - mean) / spread / math.sqrt(2))

    for query in QUERIES[:3]:
        line = [cosine(query, row) for row in VECTORS]
        own = sum(sorted(line)[-10:]) / 10
        scores = [2 * c - own - r for c, r in zip(line, near, strict=True)]
        hits = store.search(query, 8, scores="csls")[0]
        assert [hit.id for hit in hits] == best(scores, 8)
        assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:8], abs=1e-6)
        mine = usual([1 - c for c in line])
        scores = [
            rarer(1 - c, *mine) * rarer(1 - c, *usual([1 - other for other in rest]))
            for c, rest in zip(line, others, strict=True)
        ]
        hits = store.search(query, 8, "year < 100", scores="proximity")[0]
        assert [hit.id for hit in hits] == best(scores[:100], 8)
        assert [hit.score for hit in hits] == pytest.approx(sorted(scores[:100], reverse=True)[:8], abs=1e-6)
    with pytest.raises(ConfigError, match="scores are cosine, csls, proximity"):
        store.search(QUERIES, 1, scores="dot")


def test_hubness_is_a_skewness_of_counts_which_corrected_scores_lower(tmp_path: Path):
    hubby = RNG.standard_normal((1200, 100)) + RNG.standard_normal(100)
    made = Store.create(tmp_path / "s", 100)
    made.add([str(row) for row in range(1200)], hubby)
    cosine_, csls, proximity = hubness(made)
    unit = hubby.astype(np.float32).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    table = unit @ unit.T
    np.fill_diagonal(table, -9)
    counts = [0] * 1200
    for line in table:
        for row in np.argsort(-line)[:10]:
            counts[row] += 1
    mean = sum(counts) / 1200
    spread = sum((one - mean) ** 2 for one in counts) / 1200
    assert cosine_.skewness == pytest.approx(sum((one - mean) ** 3 for one in counts) / 1200 / spread**1.5)
    assert cosine_.most == max(counts) and cosine_.never == pytest.approx(counts.count(0) / 1200)
    assert cosine_.skewness > 2 and csls.skewness < 0.6 * cosine_.skewness > proximity.skewness
    assert csls.never < cosine_.never / 4


def test_search_by_words_is_bm25(store: Store):
    documents = [text.split() for text in TEXTS]
    mean = sum(map(len, documents)) / ROWS
    scores = []
    for words in documents:
        score = 0.0
        for word in ("fox", "hill"):
            count, held = words.count(word), sum(word in other for other in documents)
            idf = math.log(1 + (ROWS - held + 0.5) / (held + 0.5))
            score += idf * 2.2 * count / (count + 1.2 * (1 - 0.75 + 0.75 * len(words) / mean))
        scores.append(score)
    hits = store.lexical("Fox hill", 20)
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:20], rel=2e-2)
    assert [hit.score for hit in hits] == pytest.approx([scores[int(hit.id[1:])] for hit in hits], rel=2e-2)
    narrow = store.lexical("fox", 30, "year < 40")
    assert {hit.id for hit in narrow} == {f"r{row}" for row in range(40) if "fox" in documents[row]}
    assert store.lexical("absent") == []
    store.add(["new"], VECTORS[:1], {"text": ["a zebra"]})
    assert [hit.id for hit in store.lexical("zebra")] == ["new"]
    store.delete(["new"])
    with pytest.raises(ConfigError, match="has no column 'year' of texts; columns of texts: text"):
        store.lexical("fox", column="year")


def test_fused_lists_add_one_over_sixty_and_the_place(store: Store):
    one, other = store.search(QUERIES[0], 5)[0], store.lexical("lazy dog", 5)
    sums: dict[str, float] = {}
    for hits in (one, other):
        for place, hit in enumerate(hits):
            sums[hit.id] = sums.get(hit.id, 0) + 1 / (61 + place)
    found = fused([one, other], 7)
    assert [hit.score for hit in found] == sorted(sums.values(), reverse=True)[:7]
    assert all(hit.score == sums[hit.id] and hit.columns["text"] == TEXTS[int(hit.id[1:])] for hit in found)
