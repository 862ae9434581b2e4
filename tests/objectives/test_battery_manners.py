"""The contract battery, third part: inspection, printing, copies, configuration, and the memory that is kept."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
from cases import CASES, EVERY, Case, rows, tiled
from scenes import SCENE, SCENES, Scene
from test_battery import meetings

from nearfar.contrast import Composition, Dot, LearnedTemperature, Strategy
from nearfar.errors import ConfigError
from nearfar.objectives import InfoNCE, NTXent, SigLIP, SymmetricInfoNCE, build, catalogue

every = pytest.mark.parametrize("case", EVERY, ids=lambda c: c.name)
comparing = pytest.mark.parametrize("case", [c for c in CASES if c.compares], ids=lambda c: c.name)


# Inspection --------------------------------------------------------------------


@meetings(SCENES)
def test_inspection_adds_up_and_counts(case: Case, scene: Scene):
    objective, leaves = case.objective(), scene.leaves()
    arranged = scene.arranged(case.layout, leaves)
    near, far = torch.tensor(arranged.near), torch.tensor(arranged.far)
    for strategy in ("dense", tiled(3)) if scene.name in ("views", "unknown labels", "soft weights") else ("dense",):
        seen = scene.call(objective.inspect, leaves, strategy=strategy)
        total = scene.call(objective, leaves, strategy=strategy)
        torch.testing.assert_close(seen.total, total)
        torch.testing.assert_close(torch.stack(list(seen.terms.values())).sum(), total)
        weight = seen.weight.sum()
        mean = (seen.per_anchor * seen.weight).sum() / torch.where(weight > 0, weight, 1)
        torch.testing.assert_close(mean, total.detach())
        assert not seen.per_anchor.requires_grad and not seen.weight.requires_grad
        two_way = objective.two_way and scene.how().get("relation", None) is None and len(leaves) > 1
        sides = [(near, far)] + ([(near.T, far.T)] if two_way or len(seen.near_count) > len(near) else [])
        assert seen.near_count.tolist() == [int(n) for p, _ in sides for n in (p > 0).sum(1)]
        assert seen.far_count.tolist() == [int(n) for _, f in sides for n in (f > 0).sum(1)]
        assert seen.masked == arranged.masked()


@comparing
def test_inspection_tells_how_similar_near_and_far_pairs_are(case: Case):
    scene = SCENE["labels"]
    leaves = scene.leaves()
    arranged = scene.arranged(case.layout, leaves)
    seen = scene.call(case.objective().inspect, leaves)
    for weights, got in ((arranged.near, seen.near_mean), (arranged.far, seen.far_mean)):
        pairs = [
            float(case.score(u, v).detach())
            for i, u in enumerate(arranged.anchors)
            for j, v in enumerate(arranged.candidates)
            if weights[i][j] > 0
        ]
        assert got == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)


@pytest.mark.parametrize("case", [c for c in CASES if not c.compares], ids=lambda c: c.name)
def test_inspection_of_plain_views_adds_up(case: Case):
    views = [rows(k, 5) for k in range(case.views)]
    seen = case.objective().inspect(*views, **case.how(5))
    torch.testing.assert_close(seen.total, case.objective()(*views, **case.how(5)))
    torch.testing.assert_close(torch.stack(list(seen.terms.values())).sum(), seen.total)
    if seen.per_anchor is not None:
        torch.testing.assert_close((seen.per_anchor * seen.weight).sum() / seen.weight.sum(), seen.total)
    assert seen.near_count is None and seen.far_count is None and seen.masked == 0


def test_what_inspection_hands_out_may_be_changed():
    """The relation of matching views serves every batch of its size."""
    views = [rows(k, 3) for k in range(2)]
    first = NTXent().inspect(*views)
    before, total = first.near_count.clone(), first.total.clone()
    for tensor in (first.near_count, first.far_count, first.weight, first.per_anchor):
        tensor.zero_()
    again = NTXent().inspect(*views)
    assert torch.equal(again.near_count, before) and torch.equal(again.total, total)


def test_norms_of_npair_are_those_of_the_rows_at_any_temperature():
    a, b = rows(0, 3), rows(1, 3)
    plain, regular = (catalogue()["NPair"](l2=weight, temperature=0.5)(a, b) for weight in (0.0, 0.1))
    want = 0.1 * (a.square().sum(1) + b.square().sum(1)).mean()
    torch.testing.assert_close(regular - plain, want)


def test_chance_and_collapse_are_unknown_for_similarities_without_unrelated_rows():
    from nearfar.contrast import NegativeEuclidean

    free = NegativeEuclidean(normalize=False)
    assert NTXent(similarity=free).inspect(rows(0, 3), rows(1, 3)).chance is None
    assert NTXent(similarity=Dot()).inspect(rows(0, 3), rows(1, 3)).collapsed is None


# Copies and configuration ------------------------------------------------------


@every
def test_copies_and_configurations_give_the_same_value(case: Case):
    objective = case.make()
    views = [rows(k, 5).float() for k in range(case.views)]
    want = objective(*views, **case.how(5)).detach()
    loaded = case.make()
    loaded.load_state_dict(objective.state_dict())
    config = json.loads(json.dumps(objective.config()))
    copies = [
        pickle.loads(pickle.dumps(objective)),
        copy.deepcopy(objective),
        copy.copy(objective),
        loaded,
        objective.replace(),
    ]
    for other in copies:
        assert type(other) is type(objective)
        assert torch.equal(other(*views, **case.how(5)).detach(), want)
    built = build(config)
    assert type(built) is type(objective)
    torch.testing.assert_close(built(*views, **case.how(5)).detach(), want, rtol=1e-6, atol=1e-6)
    assert built.config()["objective"] == case.entry


@every
def test_objectives_are_frozen(case: Case):
    objective = case.make()
    for name in objective.config():
        if name != "objective":
            with pytest.raises(AttributeError, match=r"frozen.*replace"):
                setattr(objective, name, 0.7)


@every
def test_a_change_makes_another_objective(case: Case):
    objective = case.make()
    before = str(objective)
    field = next(
        (k for k, v in objective.config().items() if k == "temperature" or isinstance(v, float | bool)), "strategy"
    )
    other = objective.replace(**{field: 0.77})
    assert getattr(other, field) == 0.77 and str(objective) == before


@comparing
def test_impossible_arguments_are_refused(case: Case):
    for temperature in (0.0, -1.0, float("nan"), "warm"):
        with pytest.raises(ValueError, match="temperature"):
            case.make().replace(temperature=temperature)
    with pytest.raises(ValueError, match="strategy"):
        case.make()(rows(0, 3), rows(1, 3), strategy="fast")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("SupCon", {"average": "sideways"}, "'outside', 'inside' or 'exclusive'"),
        ("TripletAll", {"average": "all"}, "'violations' or 'triplets'"),
        ("ContrastiveMargin", {"average": "all"}, "'violations' or 'pairs'"),
        ("VICReg", {"form": "book"}, "'official' or 'paper'"),
        ("PolyView", {"average": "harmonic"}, "'geometric', 'arithmetic' or 'sufficient'"),
        ("Debiased", {"tau": 1.0}, r"tau is a probability in \[0, 1\)"),
        ("HardNegative", {"tau": -0.1}, r"tau is a probability in \[0, 1\)"),
    ],
)
def test_unknown_choices_are_named(name: str, change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        catalogue()[name](**change)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"objective": "Nothing"}, "no objective 'Nothing'; there are ContrastiveMargin, "),
        ({}, "no objective None"),
        ({"objective": "NTXent", "similarity": {"kind": "Sideways"}}, "no similarity 'Sideways'"),
        ({"objective": "NTXent", "similarity": {"kind": "torch"}}, "no similarity 'torch'"),
        ({"objective": "NTXent", "warmth": 1.0}, "NTXent.*warmth"),
    ],
)
def test_configurations_that_cannot_be_built_say_why(config: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        build(config)


def test_everything_in_a_configuration_comes_back():
    made = SymmetricInfoNCE(
        similarity=Dot(), temperature=LearnedTemperature(0.2, 0.1, 0.5), strategy=Strategy("tiled", 9)
    )
    again = build(json.loads(json.dumps(made.config())))
    assert again.similarity == Dot() and again.strategy == Strategy("tiled", 9)
    assert (again.temperature.low, again.temperature.high) == (0.1, 0.5)
    assert float(again.temperature().detach()) == pytest.approx(0.2)


@pytest.mark.parametrize("bound", ["low", "high"])
def test_a_learned_temperature_at_its_bound_can_be_configured_and_built(bound: str):
    made = InfoNCE(temperature=LearnedTemperature(0.05, 0.01, 0.1))
    with torch.no_grad():
        made.temperature.log_inverse.fill_(100.0 if bound == "low" else -100.0)
    again = build(made.config())
    assert float(again.temperature().detach()) == pytest.approx(getattr(made.temperature, bound))


# Printing ----------------------------------------------------------------------


@every
def test_printing_tells_what_the_objective_is(case: Case):
    objective = case.make()
    text = repr(objective)
    assert text.startswith(f"{case.entry}(")
    first = (type(objective).__doc__ or "").strip().splitlines()[0]
    assert first in text
    assert objective.formula and objective.formula in text
    assert objective.source and objective.source in text
    if objective.equal_to:
        assert objective.equal_to in text
    if case.compares:
        assert type(objective.similarity).__name__ in text and objective.similarity.formula in text
        assert "statistics" in text and (" over near" in text or " over far" in text or "whole rows" in text)


def test_statistics_are_those_that_are_asked_for():
    assert "LogSumExp over any, Mean over near" in repr(NTXent())
    assert "Sum over near, Sum over far" in repr(SigLIP())
    assert "whole rows" in repr(catalogue()["TripletAll"]())


# Memory ------------------------------------------------------------------------


def kept(objective: torch.nn.Module, n: int, how: dict, count: int = 2) -> tuple[int, int]:
    """Bytes of the distinct storages kept for the backward pass, and elements of the largest tensor among them."""
    storages: dict[int, int] = {}
    largest = 0

    def pack(t: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        largest = max(largest, t.numel())
        return t

    views = [torch.randn(n, 8, generator=torch.Generator().manual_seed(k)).requires_grad_() for k in range(count)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        value = objective(*views, **how)
    assert torch.isfinite(value) and value.requires_grad
    return sum(storages.values()), largest


SWEPT = [c for c in CASES if c.swept]
MEASURED = [(c, False) for c in SWEPT] + [(c, True) for c in SWEPT if catalogue()[c.entry].supervised]


@pytest.mark.parametrize(("case", "labelled"), MEASURED, ids=lambda x: getattr(x, "name", "labels" if x else "views"))
def test_what_tiled_keeps_grows_with_the_rows_not_with_the_pairs(case: Case, labelled: bool):
    seen = []
    for n in (256, 512):
        # Rows of a teacher or a guide are visited with the others.
        beside = {name: given for name, given in case.how(n).items() if name in ("teacher", "guide")}
        keys = {"labels": torch.arange(n) % (n // 4)} if labelled else beside
        total, largest = kept(case.make(), n, {"strategy": tiled(128), **keys}, case.views)
        assert largest < n * n
        seen.append(total)
    assert seen[1] < 2.3 * seen[0]


@pytest.mark.parametrize("sizes", [(300, 300), (4, 6000)], ids=str)
def test_what_auto_keeps_stays_within_its_budget(sizes: tuple[int, int]):
    """Scores are kept while they fit, and no more than the scores, however lopsided the batch and its queue."""
    n, extra = sizes
    queue = torch.randn(extra, 8, generator=torch.Generator().manual_seed(5))
    scores = 4 * n * (n + extra)
    rows_alone, _ = kept(InfoNCE(), n, {"negatives": queue, "strategy": Strategy("auto", budget=scores - 1)})
    with_scores, _ = kept(InfoNCE(), n, {"negatives": queue, "strategy": Strategy("auto", budget=scores)})
    assert scores <= with_scores - rows_alone <= 1.01 * scores


def test_the_measure_of_what_is_kept_would_notice_a_matrix():
    small, large = (kept(NTXent(), n, {"strategy": "dense"}) for n in (128, 256))
    assert large[0] > 3 * small[0] and large[1] >= 4 * 256 * 256 // 2


def test_every_composition_of_the_catalogue_is_measured():
    assert {c.entry for c in CASES if c.compares} == {k for k, v in catalogue().items() if issubclass(v, Composition)}
