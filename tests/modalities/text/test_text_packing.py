"""Texts behind one another without padding: the same values and gradients as each text alone, or not at all."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
import torch

from nearfar.modalities.text.encoders import packing
from nearfar.modalities.text.encoders.pooling import POOLINGS
from nearfar.modalities.text.encoders.transformer import TextSettings, Transformer

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
ABLE = ("Bert", "Roberta", "Camembert", "Electra", "Albert", "DistilBert", "Llama", "Qwen3")
UNABLE = ("MPNet", "ModernBert", "T5Encoder")


def net(name: str, **more):
    sizes = dict(SIZES, **more)
    if name in ("Electra", "Albert"):
        sizes["embedding_size"] = 8
    if name == "DistilBert":
        sizes |= {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    if name == "Qwen3":
        sizes |= {"num_key_value_heads": 1, "head_dim": 8}
    if name == "ModernBert":
        sizes |= {"cls_token_id": 0, "sep_token_id": 2, "local_attention": 4}
    if name == "T5Encoder":
        sizes |= {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    torch.manual_seed(3)
    config = getattr(transformers, f"{name.removesuffix('Encoder')}Config")(**sizes)
    return getattr(transformers, f"{name}Model")(config).eval()


def encoder(model, pooling="mean") -> Transformer:
    special = dict.fromkeys(("cls_token_id", "sep_token_id", "mask_token_id", "unk_token_id"))
    return Transformer(model, SimpleNamespace(pad_token_id=1, **special), TextSettings(pooling))


def texts(seed: int = 0, count: int = 30) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 14, (count,), generator=draw)
    lengths[4] = 0
    ids = torch.randint(3, 40, (count, int(lengths.max())), generator=draw)
    return ids.masked_fill(torch.arange(ids.shape[1]) >= lengths[:, None], -1)


@pytest.mark.parametrize("name", ABLE)
def test_values_and_gradients_are_those_of_each_text_alone(name, monkeypatch):
    monkeypatch.setattr("nearfar.modalities.text.encoders.transformer.PACKED", 50)
    made, tokens = encoder(net(name).double()), texts()
    weights = torch.randn(len(tokens), made.width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    want = [
        made.model(input_ids=row[None, row >= 0])[0].mean(1)[0] if (row >= 0).any() else torch.zeros(made.width)
        for row in tokens
    ]
    (torch.stack(want).double() * weights).sum().backward()
    slopes = {key: weight.grad.clone() for key, weight in made.model.named_parameters() if weight.grad is not None}
    made.zero_grad()
    got = made(tokens)
    (got * weights).sum().backward()
    assert made.model.config._attn_implementation == packing.NAME
    assert (got - torch.stack(want)).abs().max() < 1e-9
    for key, weight in made.model.named_parameters():
        if key in slopes:
            assert (weight.grad - slopes[key]).abs().max() < 1e-9, key


@pytest.mark.parametrize("name", UNABLE)
def test_nets_that_cannot_are_left_as_they_are(name):
    model = net(name).train()
    usual = model.config._attn_implementation
    assert not packing.takes_packs(model)
    assert model.config._attn_implementation == usual and model.training
    made, tokens = encoder(model.eval()), texts()[:4]
    alone = torch.cat([made(row[None]) for row in tokens])
    assert (made(tokens) - alone).abs().max() < 1e-5


def test_a_net_that_does_not_pass_on_which_texts_there_are_is_found_out():
    class Deaf(transformers.BertModel):
        def forward(self, input_ids=None, position_ids=None, attention_mask=None, texts=None):
            return super().forward(input_ids=input_ids, position_ids=position_ids, attention_mask=attention_mask)

    assert not packing.takes_packs(Deaf(net("Bert").config))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_is_that_of_pieces(pooling):
    made, tokens = encoder(net("Bert").double(), pooling), texts(1)
    got = made(tokens)
    made._packs = False
    assert (made(tokens) - got).abs().max() < 1e-9


def test_states_of_tokens_stand_at_their_places():
    made, tokens = encoder(net("Bert").double()), texts(2)
    record = made.record(tokens)
    made._packs = False
    want = made.record(tokens)
    assert torch.equal(record.mask, want.mask)
    assert (record.tokens - want.tokens)[record.mask].abs().max() < 1e-9
    assert (record.embedding - want.embedding).abs().max() < 1e-9


def test_dropout_takes_attention_too_and_is_replayed_by_the_random_numbers():
    model = net("Bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    made, tokens = encoder(model), texts()
    still = made(tokens)
    made.train()
    made(tokens)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(made(tokens).detach())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert (drawn[0] - still).abs().max() > 1e-3


def test_attention_with_dropout_is_the_same_attention():
    model = net("Bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=1e-12).double()
    made, tokens = encoder(model), texts()
    assert (made.train()(tokens) - made.eval()(tokens)).abs().max() < 1e-9


def test_trying_a_net_takes_no_random_numbers():
    model = net("Bert").train()
    torch.manual_seed(0)
    packing.takes_packs(model)
    assert model.training and torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))


def test_an_encoder_that_came_to_another_process_knows_its_attention(monkeypatch):
    made, tokens = encoder(net("Bert")), texts()
    want, sent = made(tokens), pickle.dumps(made)
    for kind in (transformers.AttentionInterface, transformers.AttentionMaskInterface):
        known = {name: function for name, function in kind._global_mapping.items() if name != packing.NAME}
        monkeypatch.setattr(kind, "_global_mapping", known)  # as in a process that has seen no packs
    assert torch.equal(pickle.loads(sent)(tokens), want)


def test_packs_hold_every_token_once_and_keep_to_the_budget():
    tokens = texts(3, 200)
    made = list(packing.packs(tokens, (tokens >= 0).sum(1), 1, 40))
    assert sorted(torch.cat([pack.rows for pack in made]).tolist()) == list(range(200))
    for pack in made:
        assert pack.ids.shape == pack.positions.shape and pack.ids.shape[1] <= 40
        rows = [row for part in pack.groups.apart(pack.ids[0]) for row in part]
        for row, length, ids in zip(pack.rows.tolist(), pack.lengths.tolist(), rows, strict=True):
            assert ids[:length].tolist() == (tokens[row][tokens[row] >= 0].tolist() or [1])
            assert not ids[length:].any()


@pytest.mark.parametrize("lengths", [[1, 2, 7, 8, 9, 15, 40, 41, 50, 52], [3, 3, 3], [5]])
def test_groups_hold_texts_of_nearly_the_same_length(lengths):
    made = packing.groups_of(torch.tensor(lengths))
    at = 0
    for count, longest in made.shapes:
        own = lengths[at : at + count]
        assert max(own) == longest <= max(min(own) + packing.GROUPED, min(own) * 1.25)
        at += count
    assert at == len(lengths)
    states = torch.arange(float(2 * sum(lengths))).view(-1, 2).requires_grad_()
    parts = list(made.apart(states))
    back = made.joined(parts)
    assert torch.equal(back, states)
    back.sum().backward()
    assert torch.equal(states.grad, torch.ones_like(states))
