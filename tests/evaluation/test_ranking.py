from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import pytrec_eval

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import Entries, Scoring, rank_scores, run_quality
from nearfar.evaluation.entries import numbered

Named = dict[str, dict[str, float]]

QRELS: Named = {"q1": {"a": 3, "b": 2, "c": 0, "d": 1, "e": 2}, "q2": {"x": 1, "y": 0, "z": 1}, "q3": {"m": 0}}
RUN: Named = {
    "q1": {"c": 0.9, "a": 0.8, "u": 0.7, "e": 0.6, "d": 0.5, "b": 0.1},
    "q2": {"y": 0.9, "x": 0.5, "w": 0.5},
    "q3": {"m": 1.0},
}
OF_TREC = {
    **{"map": "map", "map@3": "map_cut_3", "mrr": "recip_rank", "ndcg": "ndcg", "ndcg@3": "ndcg_cut_3"},
    **{"ndcg@20": "ndcg_cut_20", "recall@5": "recall_5", "precision@5": "P_5", "hit@3": "success_3"},
    **{"r_precision": "Rprec", "bpref": "bpref"},
}


def scores(run: Named, qrels: Named, measures: list[str], **rules: object) -> dict[str, dict[str, float]]:
    made, relevance, names = numbered(run, qrels)
    found = rank_scores(made, relevance, measures, Scoring(**rules))  # type: ignore[arg-type]
    return {
        names[query]: {key: float(values[row]) for key, values in found.scores.items()}
        for row, query in enumerate(found.kept)
    }


def test_golden_values_of_trec_eval() -> None:
    measures = ["precision@5", "recall@5", "r_precision", "mrr", "map", "map@5", "ndcg@5", "ndcg@10", "bpref", "hit@1"]
    found = scores(RUN, QRELS, measures)
    one = {"precision@5": 0.6, "recall@5": 0.75, "r_precision": 0.5, "mrr": 0.5, "map": 0.566667, "map@5": 0.4}
    assert found["q1"] == pytest.approx(
        {**one, "ndcg@5": 0.551774, "ndcg@10": 0.676923, "bpref": 0, "hit@1": 0}, abs=1e-6
    )
    two = {key: found["q2"][key] for key in ("map", "ndcg@10", "recall@5", "r_precision", "mrr")}
    assert two == pytest.approx({"map": 0.25, "ndcg@10": 0.386853, "recall@5": 0.5, "r_precision": 0.5, "mrr": 0.5})
    assert "q3" not in found
    assert scores(RUN, QRELS, ["ndcg@5"], gain="exponential")["q1"]["ndcg@5"] == pytest.approx(0.563164, abs=1e-6)
    assert scores(RUN, QRELS, ["map@2"], divide="min")["q1"]["map@2"] == pytest.approx(0.25)
    assert scores(RUN, QRELS, ["map@2"])["q1"]["map@2"] == pytest.approx(0.125)


def test_one_relevant_at_rank_two_and_what_stands_below_k() -> None:
    run = {"q": {f"d{i:02}": 1.0 - i / 100 for i in range(1, 11)}}
    measures = ["mrr@10", "ndcg@10", "map@100", "precision@10", "recall@10"]
    expected = {"mrr@10": 0.5, "ndcg@10": 1 / math.log2(3), "map@100": 0.5, "precision@10": 0.1, "recall@10": 1.0}
    assert scores(run, {"q": {"d02": 1}}, measures)["q"] == pytest.approx(expected)
    run["q"].update({f"below{i}": -float(i) for i in range(5)})
    assert scores(run, {"q": {"d02": 1}}, measures)["q"] == pytest.approx(expected)


def random_tables(seed: int, queries: int) -> tuple[Named, Named]:
    """Scores on a coarse grid, so that many are tied, some of them only as float32; some queries lack a list."""
    rng = np.random.default_rng(seed)
    run: Named = {}
    qrels: Named = {}
    for q in range(queries):
        judged = rng.choice(15, rng.integers(1, 12), replace=False)
        qrels[f"q{q}"] = {f"d{d}": int(rng.integers(-1, 4)) for d in judged}
        found = rng.choice(15, rng.integers(1, 15), replace=False)
        run[f"q{q}"] = {f"d{d}": float(rng.integers(0, 5) + rng.choice([0, 1e-9])) for d in found}
    return run, qrels


def test_equals_trec_eval_on_random_runs_with_ties() -> None:
    run, qrels = random_tables(0, 300)
    whole = {query: {d: int(grade) for d, grade in judged.items()} for query, judged in qrels.items()}
    judge = pytrec_eval.RelevanceEvaluator(
        whole, {"map", "map_cut.3", "recip_rank", "ndcg", "ndcg_cut.3,20", "recall.5", "P.5", "success.3",
                "Rprec", "bpref"}
    ).evaluate(run)  # fmt: skip
    found = scores(run, qrels, list(OF_TREC))
    assert set(found) == {q for q, judged in qrels.items() if max(judged.values()) >= 1}
    for query, values in found.items():
        for key, name in OF_TREC.items():
            assert values[key] == pytest.approx(judge[query][name], abs=1e-9), (query, key, run[query], qrels[query])


def test_expected_values_over_ties_are_means_over_all_orders() -> None:
    documents = "abcde"
    tied = {"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.5, "e": 0.1}
    measures = ["ndcg@3", "mrr@3", "map", "map@3", "recall@3", "precision@2", "hit@2", "r_precision", "judged@2"]
    for grades in itertools.product((0, 1, 2), repeat=5):
        if max(grades) == 0:
            continue
        qrels = {"q": {d: grade for d, grade in zip(documents, grades, strict=True) if grade or d != "d"}}
        found = scores({"q": tied}, qrels, measures, ties="expected")["q"]
        orders = []
        for order in itertools.permutations("bcd"):
            run = {"q": {d: -float(place) for place, d in enumerate(["a", *order, "e"])}}
            orders.append(scores(run, qrels, measures)["q"])
        assert found == pytest.approx({key: np.mean([o[key] for o in orders]) for key in measures}), grades


def test_rules_for_ties() -> None:
    run = {"q": {"a": 1.0, "c": 1.0, "b": 1.0}}
    mrr = {ties: scores(run, {"q": {"c": 1}}, ["mrr"], ties=ties)["q"]["mrr"] for ties in ("document", "stable")}
    assert mrr == {"document": 1.0, "stable": 0.5}
    assert scores(run, {"q": {"c": 1}}, ["mrr"], ties="pessimistic")["q"]["mrr"] == pytest.approx(1 / 3)
    assert scores(run, {"q": {"c": 1}}, ["mrr"], ties="expected")["q"]["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_a_perfect_order_is_worth_one() -> None:
    _, qrels = random_tables(1, 40)
    for values in scores(qrels, qrels, ["ndcg", "map", "r_precision", "bpref", "hit@1", "mrr"]).values():
        assert set(values.values()) == {1.0}


def test_readers_who_stop_and_readers_who_go_on() -> None:
    """ERR as the chance to come to a rank and stop there; RBP as one who goes on with the chance p."""
    run, qrels = random_tables(2, 60)
    run = {query: {d: s - 1e-3 * int(d[1:]) for d, s in found.items()} for query, found in run.items()}
    found = scores(run, qrels, ["err", "err@3", "rbp", "rbp@3"])
    assert len(found) > 30
    for query, values in found.items():
        order = sorted(run[query], key=lambda d: -run[query][d])
        want = dict.fromkeys(values, 0.0)
        come = 1.0
        for place, document in enumerate(order):
            grade = max(0, qrels[query].get(document, 0))
            stop, gain = (2**grade - 1) / 2**3, 0.1 * 0.9**place * grade / 3
            for k in ("", "@3") if place < 3 else ("",):
                want["err" + k] += come * stop / (place + 1)
                want["rbp" + k] += gain
            come *= 1 - stop
        assert values == pytest.approx(want, abs=1e-12), query
    run, qrels = {"q": {"a": 1.0, "b": 1.0}}, {"q": {"a": 2, "b": 0}}
    assert scores(run, qrels, ["rbp"], ties="expected", patience=0.5)["q"]["rbp"] == pytest.approx((0.5 + 0.25) / 2)
    assert scores(run, {"q": {"b": 2}}, ["err", "rbp"], highest=4.0)["q"] == pytest.approx({"err": 3 / 16, "rbp": 0.05})
    assert scores(run, {"q": {"b": 70}}, ["err"])["q"]["err"] == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="err has no expected value over ties"):
        scores(run, qrels, ["err"], ties="expected")
    with pytest.raises(DataError, match="a grade is 2, above highest = 1"):
        scores(run, qrels, ["err"], highest=1.0)
    with pytest.raises(ConfigError, match="patience is between 0 and 1"):
        Scoring(patience=1.0)


def test_queries_without_relevant_documents_or_without_a_list() -> None:
    found = run_quality({"a": {"x": 1.0}, "stray": {"x": 1.0}}, {"a": {"x": 1}, "b": {"y": 1}, "c": {"z": 0}}, ["mrr"])
    metric = found.metrics["mrr"]
    assert (metric.value, metric.n, found.kept.tolist()) == (0.5, 2, [0, 1])
    assert (metric.settings["lone_queries"], metric.settings["missing_queries"]) == (1, 1)
    assert len(found.notes) == 3
    with pytest.raises(DataError, match="nothing to find"):
        run_quality({"a": {"x": 1.0}}, {"a": {"x": 0}})


def test_what_is_not_judged() -> None:
    """Places: unjudged, not relevant, unjudged, relevant; another relevant one is not found."""
    run = {"q": {"u": 0.9, "n": 0.8, "v": 0.7, "r": 0.6}}
    qrels = {"q": {"n": 0, "r": 1, "s": 1}}
    assert scores(run, qrels, ["judged@1", "judged@2", "judged"])["q"] == {
        "judged@1": 0,
        "judged@2": 0.5,
        "judged": 0.5,
    }
    assert scores(run, qrels, ["map", "mrr"])["q"] == {"map": 1 / 8, "mrr": 1 / 4}
    assert scores(run, qrels, ["map", "mrr"], unjudged="dropped")["q"] == {"map": 1 / 4, "mrr": 1 / 2}
    assert scores(run, qrels, ["precision@4", "mrr"], unjudged="relevant")["q"] == {"precision@4": 0.75, "mrr": 1.0}
    whole = {"q": {**qrels["q"], "u": 0, "v": 0}}
    for measures in (["map", "ndcg@3", "bpref"],):
        assert scores(run, whole, measures, unjudged="dropped") == scores(run, whole, measures)
    with pytest.raises(ConfigError, match="no simple upper bound"):
        scores(run, qrels, ["map"], unjudged="relevant")


@pytest.mark.parametrize("measure", ["dcg@10", "ndcg@0", "precision", "bpref@5", "ndcg@ten"])
def test_unknown_measures_are_refused(measure: str) -> None:
    with pytest.raises(ConfigError, match="unknown measure"):
        rank_scores(Entries([0], [0], [1], (1, 1)), Entries([0], [0], [1], (1, 1)), [measure])


def test_bad_entries_are_named() -> None:
    with pytest.raises(DataError, match="query 1 and document 2 are listed twice"):
        Entries([1, 0, 1], [2, 2, 2], [1, 1, 0], (2, 3))
    with pytest.raises(DataError, match="entry 1 names document 3, there are 0 to 2"):
        Entries([0, 0], [0, 3], [1, 1], (1, 3))
    with pytest.raises(DataError, match="entry 0 has the value nan"):
        Entries([0], [0], [np.nan], (1, 1))
