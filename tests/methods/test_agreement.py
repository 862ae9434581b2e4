"""Attention that agrees under other dropout (miCSE): the value by numpy, the maps by transformers, and runs."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_recipes import made as plain
from torch import Tensor

import nearfar as nf
from nearfar import methods
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError
from nearfar.methods.agreement import information
from nearfar.modalities.text.encoders import encoder
from nearfar.modalities.text.encoders.attention import places
from nearfar.run import resume

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop"]
TEXTS = ["a b c d e", "f g", "h", "i j k l m n o p a b c d"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of four layers, and its tokeniser."""
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("bert")
    (path / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, initializer_range=0.5, **sizes)
    transformers.BertModel(config).save_pretrained(path)
    transformers.BertTokenizerFast(str(path / "vocab.txt")).save_pretrained(path)
    return path


def net_of(folder: Path) -> Any:
    return encoder(f"hf/{folder}")[1].eval()


def correlated(r: float, count: int = 50) -> tuple[Tensor, Tensor]:
    """Attention whose logs correlate by r."""
    draw = np.random.default_rng(0)
    basis, _ = np.linalg.qr(np.stack([np.ones(count), draw.normal(size=count), draw.normal(size=count)], 1))
    x, y = basis[:, 1], r * basis[:, 1] + math.sqrt(1 - r**2) * basis[:, 2]
    return torch.from_numpy(np.exp(x - 4))[None], torch.from_numpy(np.exp(y - 4))[None]


@pytest.mark.parametrize(("r", "want"), [(0.5, 0.143841), (0.9, 0.830366), (-0.5, 0.143841), (1.0, 6.907755)])
def test_the_information_is_that_of_normal_numbers_of_this_correlation(r: float, want: float) -> None:
    assert information(*correlated(r), 50).item() == pytest.approx(want, abs=2e-5)


def test_places_that_one_view_lacks_do_not_count_and_poor_heads_are_left_out() -> None:
    draw = np.random.default_rng(1)
    one, other = draw.uniform(0.01, 1, (2, 3, 2, 40)), draw.uniform(0.01, 1, (2, 3, 2, 40))
    one[draw.uniform(size=one.shape) < 0.2] = 0
    other[draw.uniform(size=one.shape) < 0.2] = 0
    one[1, 2, 0, 15:] = other[1, 2, 0, 15:] = -1  # a short text
    values, count = [], 18
    for x, y in zip(one.reshape(-1, 40), other.reshape(-1, 40), strict=True):
        kept = np.flatnonzero((x > 0) & (y > 0))[:count]
        if len(kept) == count:
            values.append(-0.5 * math.log(1 - np.corrcoef(np.log(x[kept]), np.log(y[kept]))[0, 1] ** 2))
    share = ((one > 0) & (other > 0)).sum() / (one >= 0).sum()
    got = information(torch.from_numpy(one), torch.from_numpy(other), count)
    assert 0 < len(values) < 12 and got.item() == pytest.approx(np.mean(values) * (share**2 + 1e-6), rel=1e-6)


def test_it_stays_finite_where_little_is_there_and_gradients_do() -> None:
    few = torch.tensor([[0.2, 0.3, 0.1, 0.0, -1.0], [0.1, 0.4, 0.2, 0.3, -1.0]], requires_grad=True)
    value = information(few, few.detach().roll(1, 1), 4)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(few.grad).all()
    assert information(few, few * 0, 4).item() == 0.0
    flat = torch.full((1, 5), 0.2, requires_grad=True)
    information(flat, flat.detach(), 5).backward()
    assert torch.isfinite(flat.grad).all()


def test_places_are_of_the_text_each_once_and_the_same_in_any_batch() -> None:
    lengths, seeds = torch.tensor([2, 4, 3]), torch.tensor([5, 6, 7])
    chosen, there = places(lengths, 2, 4, seeds, 20)
    for row, length in enumerate(lengths.tolist()):
        found = chosen[row, there[row]].tolist()
        layer, query, key = np.unravel_index(found, (2, 4, 4))
        assert len(set(found)) == len(found) == min(20, 2 * length**2)
        assert max(query.max(), key.max()) < length and set(layer) == {0, 1}
    alone, _ = places(lengths[:1], 2, 2, seeds[:1], 8)
    layer, query, key = np.unravel_index(alone[0].tolist(), (2, 2, 2))
    assert chosen[0, :8].tolist() == (layer * 16 + query * 4 + key).tolist()


def test_the_attention_is_that_of_the_model_and_its_usual_way_is_put_back(folder: Path) -> None:
    net = net_of(folder)
    tokens = net.tokens(TEXTS)
    with torch.no_grad():
        net(tokens)  # from here on it has the attention of packs
        usual = net.model.config._attn_implementation
        vectors, seen = net.attending(tokens, (1, 3), 30, 4)
        torch.testing.assert_close(vectors, net(tokens), rtol=1e-4, atol=1e-5)
        assert net.model.config._attn_implementation == usual and seen.shape == (4, 2, 2, 30)
        net.model.set_attn_implementation("eager")
        for row, text in enumerate(TEXTS):
            out = net.model(input_ids=net.tokens([text]), output_attentions=True)
            for head in range(2):
                for half, layer in enumerate((1, 2)):
                    want = out.attentions[layer][0, head].flatten()
                    got = seen[row, head, half]
                    got = got[got >= 0]
                    assert len(got) == min(30, len(want))
                    near = (got[:, None] - want).abs().amin(1)
                    assert near.max() < 1e-5 and (len(got) < len(want) or abs(float(got.sum() - want.sum())) < 1e-4)


def test_the_loss_is_that_of_simcse_less_the_information(folder: Path) -> None:
    torch.manual_seed(0)
    kind, net = methods.find("simcse"), net_of(folder)
    how = {"attention_layers": (0, 4), "attention_places": 10}
    method = kind(net, kind.Options(attention_weight=0.5, **how)).train()
    tokens = net.tokens(TEXTS)
    batch = Batch([tokens, tokens], torch.arange(4))
    views = [method.project(tokens) for _ in range(2)]
    said = method.contrast(views, batch)
    bare = method._contrasted([view["projection"] for view in views], batch)
    value = information(views[0]["attention"], views[1]["attention"], 10)
    assert said.loss.item() == pytest.approx(bare.loss.item() - 0.5 * value.item(), rel=1e-5) and value.item() > 0
    said.terms["attention"].backward()
    query = net.model.encoder.layer[0].attention.self.query.weight
    assert float(query.grad.abs().max()) > 0
    with pytest.raises(ConfigError, match="take recipe=dropout"):
        method.contrast(views, Batch([tokens, tokens.roll(1, 0)], torch.arange(4)))


def test_a_run_is_resumed_to_the_same_bits_with_and_without_micro_batches(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(" ".join(WORDS[5 + n % 9 : 8 + n % 11]) for n in range(24)))
    how = {"steps": 2, "batch_size": 8, "checkpoint_every": 1, "threads": 1, "attention_weight": 0.1, "log_every": 1}
    for name, more in (("whole", {}), ("parts", {"micro_batch": 3})):
        run = nf.fit(tmp_path / "lines.txt", tmp_path / name, method="simcse", encoder=f"hf/{folder}", **how, **more)
        assert all(line["terms"]["attention"] < 0 for line in run.history)
        whole = {key: value.clone() for key, value in run.method.state_dict().items()}
        for file in (run.path / "checkpoints").glob("step-00000002*"):
            file.unlink()
        again = resume(run.path, progress=False).method.state_dict()
        assert all(torch.equal(whole[key], again[key]) for key in whole)
        shutil.rmtree(run.path)


def test_where_there_is_no_attention_it_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="which Encoder does not show"):
        plain("simcse", attention_weight=1e-3)
    with pytest.raises(ConfigError, match="compcse does not compare attention"):
        plain("compcse", attention_weight=1e-3)
    with pytest.raises(ConfigError, match="the net has 4, and an even number"):
        net_of(folder).attending(torch.ones(1, 3, dtype=torch.long), (1, 4), 10, 0)
