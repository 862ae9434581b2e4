"""Tasks of words, and the methods made of them, against plain loops on nets over words trained from scratch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, layer_norm, normalize

import nearfar as nf
from nearfar import methods
from nearfar.comparing.plan import contenders
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError
from nearfar.methods.method import Method
from nearfar.methods.words import MaskedWords, NextWords, ReplacedWords, SaidAgain, WordHead
from nearfar.modalities import find
from nearfar.modalities.text.encoders import encoder as named
from nearfar.modalities.text.encoders import scratch
from nearfar.modalities.text.encoders.scratch import Recurrent, SmallTransformer
from nearfar.modalities.text.encoders.tasks import WordTasks
from nearfar.run import Run, fit
from nearfar.training.cache import step_gradients

F64 = torch.float64
WORDS = 500
OF_WORDS = [name for name, kind in methods.catalogue().items() if "of_words" in kind.asks]
TEXTS = ["a cat sat on the mat", "dogs bark", "one", "the very last text of them, which is longer", "a cat sat", "no."]


def net(name: str = "gru", dropout: float = 0.0, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    made = Recurrent(8, dropout) if name == "gru" else SmallTransformer(64, 1, dropout)
    return made.double()


def tokens(encoder: Any, texts: list[str] = TEXTS) -> Tensor:
    return encoder.tokens(texts)


def made(name: str, **options: Any) -> Method:
    encoder = net()
    kind = methods.find(name)
    return kind(encoder, kind.Options(**options)).double()


def said(head: WordHead, state: Tensor, word: int, vectors: Tensor) -> float:
    """Loss of one word from one state, written out."""
    hidden = layer_norm(gelu(head.inward(state)), (len(vectors[0]),), head.norm.weight, head.norm.bias)
    scores = vectors @ hidden + head.bias
    return (torch.logsumexp(scores, 0) - scores[word]).item()


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets over fewer words, which takes less time."""
    monkeypatch.setattr(scratch, "BUCKETS", WORDS)


# Words that are masked, and next words ----------------------------------------------


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_masked_words_are_said_by_the_states_at_their_places(name: str):
    encoder = net(name)
    task, rows = MaskedWords(encoder, 0.4).double(), tokens(encoder)
    got = task(encoder, rows, salt=3)
    given, chosen = encoder.masked(rows, 0.4, 3)
    assert 5 < chosen.sum() < 20 and not chosen[rows < 0].any() and torch.equal(given[~chosen], rows[~chosen])
    for text in range(len(rows)):
        states = encoder.record(given[text : text + 1]).tokens[0]
        losses = [
            said(task.head, states[t], int(rows[text, t]), encoder.vocabulary.weight)
            for t in chosen[text].nonzero()[:, 0]
        ]
        assert got[text].tolist() == pytest.approx([sum(losses), len(losses)], rel=1e-9)


def test_of_chosen_words_eight_of_ten_become_the_mask_and_one_stays():
    encoder = net()
    rows = torch.randint(1, WORDS, (200, 50), generator=torch.Generator().manual_seed(0))
    given, chosen = encoder.masked(rows, 0.15, 1)
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (given[chosen] == encoder.special["mask"]).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (given[chosen] == rows[chosen]).float().mean().item() == pytest.approx(0.1, abs=0.03)


def test_what_is_drawn_depends_on_text_and_salt_alone():
    encoder = net()
    rows = tokens(encoder)
    one, other = encoder.masked(rows, 0.5, 1)[1], encoder.masked(rows, 0.5, 2)[1]
    assert not torch.equal(one, other)
    long = torch.arange(1, 400)[None]  # one salt does not give the numbers of another, shifted
    first, second = (encoder.masked(long, 0.5, salt)[1][0].double() for salt in (1, 2))
    for shift in range(-3, 4):
        assert abs(torch.corrcoef(torch.stack([first, second.roll(shift)]))[0, 1]) < 0.2
    back = encoder.masked(rows[3:4, :10], 0.5, 1)[1]
    assert torch.equal(back[0], one[3, :10])
    wider = torch.cat([rows, torch.full((len(rows), 3), -1)], 1)
    assert torch.equal(encoder.masked(wider, 0.5, 1)[1][:, : rows.shape[1]], one)
    short = encoder.shortened(rows, 0.9, 1)
    assert torch.equal(encoder.shortened(torch.full((2, 3), -1), 0.9, 1), torch.full((2, 1), -1))
    assert ((short >= 0).sum(1) >= 1).all() and (short >= 0).sum() < (rows >= 0).sum()


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_next_words_are_said_by_states_that_do_not_know_them(name: str):
    encoder = net(name).eval()
    task, rows = NextWords(encoder).double(), tokens(encoder)
    got = task(encoder, rows)
    for text in range(len(rows)):
        count = int((rows[text] >= 0).sum())
        losses = []
        for t in range(count - 1):  # the words up to t, with nothing behind them
            state = encoder.upto(rows[text : text + 1, : t + 1])[0, -1]
            losses.append(said(task.head, state, int(rows[text, t + 1]), encoder.vocabulary.weight))
        assert got[text].tolist() == pytest.approx([sum(losses), count - 1], rel=1e-9)


@pytest.mark.parametrize("options", [{"masked": 0.2}, {"next_word": 0.3}, {"masked": 0.2, "next_word": 0.3}])
def test_tasks_beside_a_method_add_their_mean_loss_of_a_word(options: dict[str, float]):
    plain, encoder = made("simcse"), net()
    method = methods.with_tasks(made("simcse"), methods.PretextOptions(masked_share=0.5, **options)).double()
    rows = tokens(encoder)
    batch = Batch([rows, rows.flip(0)], torch.arange(len(rows)))
    got = method.contrast([method.project(view) for view in batch.views], batch)
    want = plain.contrast([plain.project(view) for view in batch.views], batch).loss.item()
    for name, weight in options.items():
        more = (method.salt.number,) if name == "masked" else ()
        told = torch.cat([method.tasks[name](method.encoder, view, *more) for view in batch.views]).sum(0)
        assert got.terms[name].item() == pytest.approx(weight * (told[0] / told[1]).item())
        want += weight * (told[0] / told[1]).item()
    assert got.loss.item() == pytest.approx(want)
    assert method.name == "simcse" and method.width == 8 and "beside" in method.describe()


def test_without_a_weight_there_is_no_task():
    plain = made("simcse")
    assert methods.with_tasks(plain, methods.PretextOptions()) is plain


def test_the_labels_of_a_method_are_still_asked_for_beside_tasks():
    kind = methods.find("supcon")
    method = methods.Beside(kind(net(), kind.Options()), methods.PretextOptions(masked=1.0))
    assert method.supervised and method.options is method.method.options


@pytest.mark.parametrize("name", ["pairs", "ranker", "supcon", "denosent", "tsdae"])
def test_beside_tasks_a_method_says_of_itself_what_it_says_alone(name: str):
    kind = methods.find(name)
    alone = kind(net(), kind.Options(**({"contrast_weight": 0.0} if name == "denosent" else {})))
    method = methods.Beside(alone, methods.PretextOptions(masked=1.0))
    asked = ["name", "near", "far", "source", "supervised", "asks", "contrasts", "takes_far", "taught", "mines"]
    assert [getattr(method, said) for said in asked] == [getattr(alone, said) for said in asked]
    assert method.Options is kind.Options


def test_encoders_without_words_are_refused_with_what_to_take():
    encoder = nn.Linear(3, 4)
    encoder.width = 4  # type: ignore[assignment]
    kind = methods.find("simcse")
    with pytest.raises(
        ConfigError, match="masked asks an encoder of words for vocabulary, which Linear does not offer"
    ):
        methods.Beside(kind(encoder, kind.Options()), methods.PretextOptions(masked=0.1))
    for name in OF_WORDS:
        with pytest.raises(ConfigError, match=f"{name} .* Linear does not offer; for texts take"):
            methods.find(name)(encoder, methods.find(name).Options())
    with pytest.raises(ConfigError, match="Ngrams does not offer"):
        methods.Beside(kind(named("ngrams-4")[1], kind.Options()), methods.PretextOptions(next_word=0.1))


def test_masked_words_need_a_mask():
    encoder = net()
    encoder.special = {**encoder.special, "mask": None}
    with pytest.raises(ConfigError, match="the tokeniser of this encoder has no mask"):
        MaskedWords(encoder, 0.1)


# DiffCSE ----------------------------------------------------------------------------


def test_replaced_words_are_told_by_a_second_net_that_has_the_projection_first():
    encoder = net()
    task, rows = ReplacedWords(encoder, 5, 0.5).double(), tokens(encoder)
    task.remember(torch.tensor([7, 8, 9]))
    z = torch.randn(len(rows), 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    got = task(encoder, rows, z, salt=1)
    given, changed = encoder.replaced(rows, 0.5, 1, torch.tensor([9, 8, 7]))
    assert changed.any() and set(given[changed].tolist()) <= {7, 8, 9} and torch.equal(changed, given != rows)
    for text in range(len(rows)):
        count = int((rows[text] >= 0).sum())
        vectors = encoder.vectors_of(given[text : text + 1, :count]).clone()
        vectors[0, 0] = task.inward(z[text])
        scores = task.head(task.net.states_of(vectors, torch.ones(1, count, dtype=torch.bool)))[0, :, 0]
        losses = [
            math.log1p(math.exp(-s if c else s))
            for s, c in zip(scores[1:].tolist(), changed[text, 1:].tolist(), strict=False)
        ]
        assert got[text].tolist() == pytest.approx([sum(losses), count - 1], rel=1e-9)


def test_nothing_is_replaced_before_words_are_remembered_and_the_newest_stay():
    encoder = net()
    task, rows = ReplacedWords(encoder, 5, 0.5, remembered=4), tokens(encoder)
    assert not encoder.replaced(rows, 0.9, 1, task.pool[: int(task.filled)])[1].any()
    task.remember(torch.tensor([1, 2, 3]))
    task.remember(torch.tensor([4, 5]))
    assert task.pool.tolist() == [5, 4, 3, 2]


def test_diffcse_is_simcse_and_the_replaced_words():
    method, data = made("diffcse", replaced_weight=0.5, head="tanh"), batch()
    first = method.contrast([method.project(view) for view in data.views], data)
    method.after_step(0, 2)
    assert int(method.replaced.filled) == int((data.views[0] >= 0).sum())
    views = [method.project(view) for view in data.views]
    got = method.contrast(views, data)
    one, other = (normalize(view["projection"], dim=1) for view in views)
    told = torch.cat([view["replaced"] for view in views]).sum(0)
    want = cross_entropy(one @ other.T / 0.05, torch.arange(len(one))) + 0.5 * told[0] / told[1]
    assert got.loss.item() == pytest.approx(want.item(), rel=1e-6) and got.loss != first.loss


def test_the_task_reaches_the_encoder_through_the_projection_and_leaves_the_masked_model_alone():
    method, data = made("diffcse"), batch()
    method.after_step(0, 2)
    method.replaced.remember(torch.arange(1, 50))
    view = method.project(data.views[0])
    gradient = torch.autograd.grad(view["replaced"][:, 0].sum(), view["projection"])[0]
    assert gradient.abs().sum() > 0


# DenoSent and TSDAE -------------------------------------------------------------------


def batch(views: int = 2) -> Batch:
    encoder = net()
    ids = torch.arange(len(TEXTS))
    return Batch([tokens(encoder).roll(shift, 0) for shift in range(views)], ids, ids % 2)


@pytest.mark.parametrize("causal", [True, False])
def test_what_the_decoder_sees_of_a_word_that_it_says(causal: bool):
    """Causal: the words before it. Else: every word, but for what is dropped, which may be all."""
    encoder = net("transformer").eval()
    task = SaidAgain(encoder, 64, 1, causal, 0.0).double().train()
    vector = torch.randn(1, 64, generator=torch.Generator().manual_seed(1), dtype=F64)
    rows, other = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[5, 6, 9, 8]])

    def losses(said: Tensor, which: nn.Module = task) -> list[float]:
        """Of each word alone, by the difference of sums over longer and longer texts where words see those before."""
        sums = [float(which(encoder, said[:, :n], vector)[0, 0]) for n in range(1, 5)]
        return [b - a for a, b in zip([0.0, *sums], sums, strict=False)]

    if causal:
        one, two = losses(rows), losses(other)
        assert one[:2] == pytest.approx(two[:2]) and one[2] != pytest.approx(two[2])
        nothing = task(encoder, torch.tensor([[5]]), vector)
        assert one[0] == pytest.approx(float(nothing[0, 0]))
    else:
        blind = SaidAgain(encoder, 64, 1, False, 1.0).double().train()
        parts = [blind(encoder, text, vector)[0, 0].item() for text in (rows, other)]
        swap = blind.head.bias[7] - blind.head.bias[9]
        assert swap == 0 and parts[0] != parts[1]
        with torch.no_grad():  # words 7 and 9 alike in the head: then nothing tells the texts apart
            encoder.vectors.weight[9] = encoder.vectors.weight[7]
        assert blind(encoder, rows, vector)[0, 0].item() == pytest.approx(blind(encoder, other, vector)[0, 0].item())


def test_the_decoder_gives_no_gradient_to_the_words_that_it_sees_and_some_to_the_vector():
    encoder = net()
    task, rows = SaidAgain(encoder, 8, 2, False, 0.0).double(), tokens(encoder)
    vector = encoder.record(rows).embedding
    (of_vector,) = torch.autograd.grad(task(encoder, rows, vector)[:, 0].sum(), vector)
    assert of_vector.abs().sum(1).min() > 0
    seen: list[Tensor] = []
    task.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    counts = task(encoder, rows, vector)[:, 1]
    assert not seen[0].requires_grad and counts.tolist() == (rows >= 0).sum(1).tolist()


def test_denosent_is_a_weighted_sum_and_tsdae_says_the_whole_text_from_what_is_left():
    method, data = made("denosent", dropped=0.0, layers=1, head="none"), batch()
    views = [method.project(view) for view in data.views]
    got = method.contrast(views, data)
    one, other = (normalize(method.encoder(view), dim=1) for view in data.views)
    told = torch.cat([method.again(method.encoder, view, method.encoder(view)) for view in data.views]).sum(0)
    want = 5 * cross_entropy(one @ other.T / 0.05, torch.arange(len(one))) + 7 * told[0] / told[1]
    assert got.loss.item() == pytest.approx(want.item(), rel=1e-6)
    method, data = made("tsdae"), batch(1)
    got = method.contrast([method.project(data.views[0])], data)
    left = method.encoder.shortened(data.views[0], 0.6, method.salt.number)
    told = method.again(method.encoder, data.views[0], method.encoder(left)).sum(0)
    assert got.loss.item() == pytest.approx(float(told[0] / told[1]))


# All of them --------------------------------------------------------------------------


def of_words(name: str) -> Method:
    """A method of words, or one with tasks beside it."""
    if name in OF_WORDS:
        own: dict[str, dict[str, Any]] = {"denosent": {"dropped": 0.0, "layers": 1}, "lmsupcon": {"turns": False}}
        method = made(name, **own.get(name, {}))
    else:
        method = methods.Beside(made(name), methods.PretextOptions(masked=0.2, next_word=0.1)).double()
    for part in list(method.modules()):
        for key, child in part.named_children():
            if isinstance(child, nn.BatchNorm1d):
                setattr(part, key, nn.Identity())
    return method


@pytest.mark.parametrize("name", [*OF_WORDS, "simcse", "compcse", "pairs"])
def test_micro_batches_give_the_gradients_of_the_whole_batch(name: str):
    data, results = batch(), []
    for micro_batch in (None, 4):
        method = of_words(name)
        for number in range(2):
            method.zero_grad()
            step_gradients(
                method.project, data.views, lambda p, m=method: m.contrast(p, data).loss, micro_batch, method.order
            )
            method.after_step(number, 2)
        results.append(({n: p.grad for n, p in method.named_parameters() if p.grad is not None}, method.state_dict()))
    (want, state), (got, other) = results
    assert want.keys() == got.keys() and any(g.abs().max() > 1e-6 for g in want.values())
    for one, two in ((want, got), (state, other)):
        for key in one:
            torch.testing.assert_close(two[key], one[key], rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of a small grammar."""
    path = tmp_path_factory.mktemp("data") / "notes.txt"
    who, what, where = (
        ("anna", "bert", "the cat", "a dog"),
        ("eats", "sees", "sold", "drew"),
        ("here", "at home", "in town"),
    )
    path.write_text(
        "\n".join(f"{a} {b} a {c} {d}" for a in who for b in what for c in ("fish", "car", "hat") for d in where)
    )
    return path


def run(notes: Path, out: Path, method: str, **more: Any) -> Run:
    how = {"steps": 60, "batch_size": 32, "lr": 1e-2, "log_every": 1, "threads": 1, "progress": False}
    return fit(notes, out, method=method, encoder="gru-32", **{**how, **more})


def test_tasks_are_learned_beside_a_contrast(notes: Path, tmp_path: Path):
    made = run(notes, tmp_path / "run", "simcse", masked=1.0, next_word=1.0)
    first, last = made.history[0]["terms"], made.history[-1]["terms"]
    assert first["masked"] == pytest.approx(math.log(WORDS), rel=0.1)  # nothing is known at first
    assert last["masked"] < 3 and last["next_word"] < 3
    assert made.config["pretext"] == {"masked": 1.0, "masked_share": 0.15, "next_word": 1.0}
    assert made.embed(notes, progress=False).vectors.shape == (144, 32)


def test_a_text_is_said_again_better_from_its_own_vector(notes: Path, tmp_path: Path):
    made = run(notes, tmp_path / "run", "tsdae", left_out=0.2).method.eval()
    rows = made.encoder.tokens(notes.read_text().splitlines())
    with torch.no_grad():
        vectors = made.encoder(rows)
        own, others = (made.again(made.encoder, rows, v).sum(0) for v in (vectors, vectors.roll(5, 0)))
    assert float(own[0] / own[1]) < 0.7 * float(others[0] / others[1])


def test_the_second_net_tells_replaced_words_better_with_the_projection(tmp_path: Path):
    lines = [f"{a} {b} {c}" for a in "pqr" for b in "stuvwx" for c in "stuvwx"]  # nothing else tells which were there
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    made = run(tmp_path / "lines.txt", tmp_path / "run", "diffcse", replaced_weight=1.0, steps=150).method.eval()
    made.replaced.remember(made.encoder.tokens(["s t u v w x"])[0])
    rows = made.encoder.tokens(lines)
    with torch.no_grad():
        z = made.head(made.encoder(rows))
        own, others = (made.replaced(made.encoder, rows, v, 5).sum(0) for v in (z, z.roll(5, 0)))
    assert float(own[0] / own[1]) < 0.9 * float(others[0] / others[1])


def test_tasks_are_settings_of_comparisons_and_plans_too(notes: Path):
    text = find("text")
    chosen, left_out = contenders(["simcse", ("simcse", {"masked": 0.1})], {"next_word": 0.2}, {}, text)
    assert [one.settings for one in chosen] == [{"next_word": 0.2}, {"next_word": 0.2, "masked": 0.1}] and not left_out
    few = {"encoder": "gru-8", "batch_size": 16, "steps": 1}
    plain, more = (nf.plan(notes, method="simcse", **few, **tasks) for tasks in ({}, {"masked": 0.1}))
    assert more.held.weights > plain.held.weights


def test_every_encoder_of_words_offers_what_is_asked():
    for name in ("gru-8", "transformer-64x1"):
        assert isinstance(named(name)[1], WordTasks)
