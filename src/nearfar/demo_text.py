"""The demo of texts: from a collection with relevance to an encoder that searches it better, in some minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import mining
from .data import bundled
from .evaluation import Difference, Entries, Neighbours, Quality, Scoring, compare_quality, nearest, run_quality
from .evaluation.entries import entries_of
from .modalities.text.collection import Collection, pairs_of, read_collection
from .modalities.text.source import TextSource
from .opening import open_run
from .report.data import ReportData
from .report.search import Asked, SearchPage, write_search
from .run import Run, fit, save
from .version import VERSION

PAIRS, MINED = 8_000, 4_000  # learned from with the other pairs of the batch as negatives, then with mined ones too
NEGATIVES, CANDIDATES = 1, 20  # mined for each pair, among so many of each miner
SHARE = 0.95  # of the score of its right entry is the most that a negative may have
DEPTH, LISTED, SHOWN, EXAMPLES = 100, 10, 300, 8  # of lists; entries, queries and mined negatives on the page
MEASURES = ("ndcg@10", "mrr@10", "recall@10", "recall@100")
HEADLINE = "ndcg@10"
COUNTED = {  # of the mining, as the page says it
    "queries": "Pairs",
    "candidates": "Candidates, by vectors and by words",
    "known positive": "Taken out: the right entry",
    "duplicate text": "Taken out: a text that is there twice",
    "percentage": f"Taken out: above {SHARE:.0%} of the right entry's score",
    "queries without negatives": "Pairs that are left without a negative",
}
OF_ENCODER: dict[str, dict[str, Any]] = {"transformer": {"lr": 2e-4, "freeze": 1}, "ngrams": {"lr": 1e-2}}
SLOWER = 0.5  # share of that rate for the second part
SETTINGS: dict[str, Any] = {
    "method": "pairs",
    "epochs": 1,
    "batch_size": 128,
    "temperature": 0.05,
    "weight_decay": 1e-2,
    "layer_decay": None,
    "log_every": 2,
}


@dataclass(frozen=True)
class System:
    """A way to search: its ranked lists of the held-out queries, and what they are worth."""

    found: Neighbours
    quality: Quality


@dataclass(frozen=True)
class Harder:
    """Pairs with the negatives that were mined for them, and counts of the mining."""

    pairs: TextSource
    counts: dict[str, int]


def demo(
    out: Path,
    data: Path | None = None,
    encoder: str = "minilm",
    say: Callable[[str], None] = print,
    progress: bool | None = None,
    pairs: int = PAIRS,
    mined: int = MINED,
    **settings: Any,
) -> tuple[dict[str, System], dict[str, Difference], Path]:
    """Fit an encoder to pairs of a collection, mine hard negatives with it, go on with those, and measure the search.

    Args:
        out: folder; gets `first/` and `run/` (runs), `report.html` and `results.json`. A run that is there is refused.
        data: another collection, with judgments to train on and others to test on.
        encoder: as for `fit`: where training starts, and what it is compared with.
        pairs, mined: how many pairs to learn from before and after mining.
        settings: override those of the demo.

    Returns:
        The systems by name, the paired difference of the trained one to each other, and the page.

    Raises:
        ImportError: the encoder, or what BM25 needs, is not installed.
    """
    clock = _Clock()
    path = data or bundled.path("glosses")
    test = read_collection(path, split="test")
    given = pairs_of(read_collection(path, split="train"))
    order = np.random.default_rng(0).permutation(len(given))[: pairs + mined]
    cut = len(order) * pairs // (pairs + mined)
    settings = {**_settings(encoder), **settings}
    say(f"Searching {len(test.documents):,} entries with {len(test.queries):,} held-out queries, before any training")
    others = {"untouched": by_vectors(_opened(encoder, test), test, progress), "BM25": by_words(test)}
    clock.note("search before")
    say(f"Learning from {cut:,} pairs; the other pairs of a batch are the negatives")
    first = fit(given.select(order[:cut]), out / "first", encoder=encoder, progress=progress, **settings)
    clock.note("training")
    say(f"Mining hard negatives for {len(order) - cut:,} other pairs")
    harder = mine(first, given.select(order[cut:]), progress)
    clock.note("mining")
    say(f"Going on with {len(harder.pairs):,} pairs and their negatives")
    slower = {**settings, "lr": settings["lr"] * SLOWER}
    run = fit(harder.pairs, out / "run", encoder=str(out / "first"), progress=progress, **slower)
    clock.note("training with hard negatives")
    say("Searching again")
    systems = {"trained": by_vectors(run, test, progress), **others}
    gains = {
        name: compare_quality(systems["trained"].quality, system.quality)[HEADLINE] for name, system in others.items()
    }
    clock.note("search after")
    results = {
        "verdict": verdict(gains),
        "systems": {name: system.quality.to_json() for name, system in systems.items()},
        "differences": {name: gain.to_json() for name, gain in gains.items()},
        "mining": harder.counts,
        "seconds": clock.seconds,
    }
    save(out / "results.json", json.dumps(results, indent=1).encode())
    page = write_search(out / "report.html", _page(test, systems, gains, harder, first, run, clock.seconds))
    return systems, gains, page


def by_vectors(run: Run, test: Collection, progress: bool | None) -> System:
    """Search by the cosine of embeddings."""
    queries, documents = (run.embed(texts, progress).vectors for texts in (test.queries, test.documents))
    return _scored(nearest(queries, documents, min(DEPTH, len(documents))), test)


def by_words(test: Collection) -> System:
    """Search by words: BM25 over stems, without stop words."""
    queries, documents = (_stems(list(texts.columns["text"])) for texts in (test.queries, test.documents))
    miner = mining.BM25(queries, documents)
    found = miner.find(np.arange(len(test.queries)), min(DEPTH, len(test.documents)))
    return _scored(Neighbours(found.scores, found.index), test)


def mine(run: Run, pairs: TextSource, progress: bool | None) -> Harder:
    """Each pair with negatives that vectors or words find among the entries of the others, or none."""
    anchors, positives = (list(column) for column in pairs.columns.values())
    queries, documents = (run.embed(TextSource({"text": texts}), progress).vectors for texts in (anchors, positives))
    rows = np.arange(len(anchors))
    job = mining.Mining(
        mining.Union([mining.Exact(queries, documents), mining.BM25(_stems(anchors), _stems(positives))]),
        mining.Near(np.stack([rows, rows], axis=1), len(rows), len(rows)),
        [mining.SameText(mining.text_keys(anchors), mining.text_keys(positives)), mining.Percentage(SHARE)],
        negatives=NEGATIVES,
        depth=min(CANDIDATES, len(rows)),
    )
    found = job.run()
    chosen = found.negatives(rows, NEGATIVES)
    columns = {"anchor": anchors, "positive": positives}
    for number in range(NEGATIVES):
        columns[f"negative_{number + 1}"] = [positives[row] if row >= 0 else "" for row in chosen[:, number]]
    return Harder(TextSource(columns, ids=pairs.ids), found.counts)


def verdict(gains: dict[str, Difference]) -> str:
    """In plain words what was beaten and what was not.

    >>> one, other = Difference(0.1, 0.08, 0.12, 0.001, 500), Difference(0.01, -0.01, 0.03, 0.4, 500)
    >>> print(verdict({"BM25": one, "untouched": other}))
    The trained encoder beats BM25 (nDCG@10 +0.100). It does not beat untouched (nDCG@10 +0.010, within chance).
    """
    said = []
    for name, gain in gains.items():
        sure = gain.low > 0 or gain.high < 0
        word = "does not beat" if not sure else "beats" if gain.value > 0 else "is worse than"
        said.append(f"{word} {name} (nDCG@10 {gain.value:+.3f}{'' if sure else ', within chance'}).")
    return " ".join(f"{'It' if place else 'The trained encoder'} {part}" for place, part in enumerate(said))


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def note(self, stage: str) -> None:
        """What was done since the last note."""
        now = time.perf_counter()
        self.seconds[stage], self._last = round(now - self._last, 1), now


def _settings(encoder: str) -> dict[str, Any]:
    """Those of the demo for this encoder; half precision where the processor multiplies faster in it."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = known.get("avx512_bf16") or known.get("amx_bf16")
    static = encoder.startswith("ngrams")
    half = {"precision": "bfloat16"} if fast and not static else {}
    return {**SETTINGS, **OF_ENCODER["ngrams" if static else "transformer"], **half}


def _opened(encoder: str, test: Collection) -> Run:
    try:
        return open_run(encoder, test.documents)
    except ImportError as error:
        raise ImportError(f"{error}; or do without it: nearfar demo text --encoder ngrams") from None


def _stems(texts: list[str]) -> list[str]:
    """The stems of texts, without stop words."""
    try:
        import bm25s
        import Stemmer
    except ImportError:
        raise ImportError("search by words needs bm25s and PyStemmer: pip install 'nearfar[text]'") from None
    stem = Stemmer.Stemmer("english")
    listed = bm25s.tokenize(texts, stopwords="en", stemmer=stem, return_ids=False, show_progress=False)
    return [" ".join(stems) for stems in listed]


def _scored(found: Neighbours, test: Collection) -> System:
    relevance = Entries(test.query_rows, test.document_rows, test.grades, (len(test.queries), len(test.documents)))
    listed = entries_of(found, len(test.documents))
    return System(found, run_quality(listed, relevance, MEASURES, Scoring(ties="stable")))


def _page(
    test: Collection,
    systems: dict[str, System],
    gains: dict[str, Difference],
    harder: Harder,
    first: Run,
    run: Run,
    seconds: dict[str, float],
) -> SearchPage:
    rows = np.random.default_rng(1).permutation(len(test.queries))[:SHOWN].tolist()
    asked = [_asked(row, test, systems) for row in rows]
    numbers = {number for one in asked for line in (one.right, *one.listed) for number in line}
    documents = test.documents.columns["text"]
    columns = list(harder.pairs.columns.values())[:3]
    return SearchPage(
        ReportData(
            title="Search by meaning",
            verdict=verdict(gains),
            version=VERSION,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=run.config["command"],
            config={"training": run.config["training"], "method": run.config["method_options"]},
            source={"kind": "collection", "items": len(test.documents)},
            timings=seconds,
            evaluation={
                name: {key: metric.to_json() | {"settings": {}} for key, metric in system.quality.metrics.items()}
                for name, system in systems.items()
            },
        ),
        asked,
        {number: documents[number] for number in sorted(numbers)},
        DEPTH,
        differences={name: gain.to_json() for name, gain in gains.items()},
        mined={label: harder.counts[name] for name, label in COUNTED.items()},
        examples=[row for row in zip(*columns, strict=True) if row[2]][:EXAMPLES],
        histories={"In-batch negatives": first.history, "With hard negatives": run.history},
    )


def _asked(row: int, test: Collection, systems: dict[str, System]) -> Asked:
    right = test.document_rows[(test.query_rows == row) & (test.grades > 0)]
    listed, ranks = [], []
    for system in systems.values():
        line = system.found.index[row]
        line = line[line >= 0]
        at = np.flatnonzero(np.isin(line, right))
        listed.append(line[:LISTED].tolist())
        ranks.append(int(at[0]) + 1 if len(at) else 0)
    return Asked(test.queries.columns["text"][row], right.tolist(), listed, ranks)
