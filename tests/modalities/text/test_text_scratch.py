"""Nets over hashed words, trained from scratch."""

from __future__ import annotations

import pytest
import torch

import nearfar as nf
from nearfar.errors import ConfigError
from nearfar.modalities.text.encoders import encoder

TEXTS = ["The dog sleeps.", "a", "under the lazy tree the fox jumps over a dog, and runs", "", "Ein Käfig 猫"]
NAMES = ["gru-16", "transformer-64x2"]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_has_one_vector_whatever_stands_beside_it(name):
    net = encoder(name)[1].eval()
    together = net(net.tokens(TEXTS))
    alone = torch.cat([net(net.tokens([text])) for text in TEXTS])
    torch.testing.assert_close(together, alone)
    wide = torch.nn.functional.pad(net.tokens(TEXTS), (0, 5), value=-1)
    torch.testing.assert_close(net(wide), together)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_words_has_a_say_and_the_case_of_letters_has_none(name):
    net = encoder(name)[1].eval()
    one, turned, large = net(net.tokens(["dog bites man", "man bites dog", "DOG bites Man"]))
    assert (one - turned).abs().max() > 1e-3 and torch.equal(one, large)


@pytest.mark.parametrize("name", NAMES)
def test_the_record_has_a_state_for_each_word_whose_mean_is_the_embedding(name):
    net = encoder(name)[1].eval()
    tokens = net.tokens(TEXTS)
    record = net.record(tokens)
    assert record.mask.sum(1).tolist() == net.lengths(tokens).tolist() == [4, 1, 13, 1, 3]
    for row, length in enumerate(record.mask.sum(1)):
        torch.testing.assert_close(record.tokens[row, :length].mean(0), record.embedding[row])


@pytest.mark.parametrize("name", NAMES)
def test_a_process_without_rows_takes_part(name):
    net = encoder(name)[1]
    tokens = net.tokens(TEXTS)[:0]
    assert net(tokens).shape == (0, net.width) and net.record(tokens).tokens.shape[::2] == (0, net.width)
    if name.startswith("transformer"):  # whose weights may be shared out over the processes
        (net(tokens).sum() + net.upto(tokens).sum()).backward()
        assert all(p.grad is not None and not p.grad.any() for p in net.net.parameters())


def test_a_long_text_and_one_that_grew_are_cut():
    net = encoder("transformer-64x1")[1].eval()
    tokens = net.tokens(["word " * 500])
    assert tokens.shape == (1, 128)
    torch.testing.assert_close(net(torch.cat([tokens, tokens], 1)), net(tokens))


def test_names_that_do_not_fit_say_so():
    assert [encoder(name)[0] for name in ("gru", "transformer")] == ["gru-256", "transformer-256x4"]
    for name, says in (("gru-7", "even, not 7"), ("transformer-100x2", "multiple of 64"), ("gru-1", "between 2 and")):
        with pytest.raises(ConfigError, match=says):
            encoder(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_and_a_run_gives_the_same_vectors_again(name, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(f"the {a} {b} near the {c}" for a in ("red", "old") for b in ("fox", "dog", "cat")
                               for c in ("house", "tree", "river", "road")))  # fmt: skip
    run = nf.fit(
        lines, tmp_path / "run", method="simcse", encoder=name, steps=12, batch_size=12, lr=3e-3, dropout=0.2,
        log_every=1, recipe="delete",
    )  # fmt: skip
    losses = [line["loss"] for line in run.history]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    again = nf.Run.load(run.path)
    assert (again.embed(lines).vectors == run.embed(lines).vectors).all()
