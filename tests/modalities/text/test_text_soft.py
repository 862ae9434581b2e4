"""What a pretrained transformer offers beyond vectors: soft prompts in front, and tasks of words; on a tiny BERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.errors import ConfigError
from nearfar.exporting import export
from nearfar.modalities.text.encoders import encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop"]
TEXTS = ["a b c d e", "f g", "h", "i j k l m n o p a b c d"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with a masked head, and its tokeniser."""
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("bert")
    (path / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, initializer_range=0.5, **sizes)
    transformers.BertForMaskedLM(config).save_pretrained(path)
    transformers.BertTokenizerFast(str(path / "vocab.txt")).save_pretrained(path)
    return path


def made(folder: Path, **changes: Any) -> Any:
    torch.manual_seed(1)
    return encoder(f"hf/{folder}", **changes)[1].eval()


def test_each_layer_has_its_own_vectors_in_front_of_the_text(folder: Path):
    net = made(folder, soft_prompts=3)
    assert net.soft.vectors.shape == (2, 3, 24) and net.settings.most_tokens == 32 - 3
    for text in TEXTS:
        tokens = net.tokens([text])
        bert = net.model
        with torch.no_grad():
            words = bert.get_input_embeddings()(tokens)
            hidden = bert.embeddings(inputs_embeds=torch.cat([torch.zeros(1, 3, 24), words], 1))
            for layer, own in zip(bert.encoder.layer, net.soft.vectors, strict=True):
                hidden = layer.forward(torch.cat([own[None], hidden[:, 3:]], 1))
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            torch.testing.assert_close(net(tokens)[0], hidden[0, 3:].mean(0), rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # and so it is whatever stands beside it
        torch.testing.assert_close(net(net.tokens(TEXTS))[1:2], net(net.tokens(TEXTS[1:2])), rtol=1e-4, atol=1e-5)


def test_soft_prompts_alone_learn_and_are_kept_with_the_run(folder: Path, tmp_path: Path):
    (tmp_path / "lines.txt").write_text("\n".join(" ".join(WORDS[5 + n % 9 : 8 + n % 11]) for n in range(24)))
    how = {"steps": 2, "batch_size": 8, "checkpoint_every": 1, "soft_prompts": 4, "hinge_weight": 1.0, "threads": 1}
    run = nf.fit(tmp_path / "lines.txt", tmp_path / "run", method="simcse", encoder=f"hf/{folder}", **how)
    assert run.config["training"]["lr"] == 1e-2
    before, after = run.fresh_method().encoder.state_dict(), run.method.encoder.state_dict()
    assert [key for key in after if not torch.equal(before[key], after[key])] == ["soft.vectors"]
    vectors = run.embed(tmp_path / "lines.txt").vectors
    again = nf.Run.load(run.path)
    assert np.array_equal(again.embed(tmp_path / "lines.txt").vectors, vectors)
    for file in (run.path / "checkpoints").glob("step-00000002*"):
        file.unlink()
    resumed = nf.resume(run.path).method.state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in run.method.state_dict().items())
    with pytest.raises(ConfigError, match="soft prompts have no place in"):
        export(run, tmp_path / "out")


def test_impossible_soft_prompts_are_refused(folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="set one of them"):
        made(folder, soft_prompts=3, lora=2)
    (tmp_path / "lines.txt").write_text("a\nb\nc\nd")
    for setting, value in (("soft_prompts", 3), ("generator", f"mlm/{folder}")):
        with pytest.raises(ConfigError, match=setting):
            nf.fit(tmp_path / "lines.txt", tmp_path / "run", encoder="gru-8", steps=1, **{setting: value})


@pytest.mark.parametrize("soft_prompts", [None, 3])
def test_a_process_without_rows_takes_part(folder: Path, soft_prompts: int | None):
    net = made(folder, soft_prompts=soft_prompts)
    tokens = net.tokens(["the red fox"])[:0]
    found = net(tokens), net.record(tokens).embedding, net.upto(tokens).mean(1)
    assert [one.shape for one in found] == 3 * [(0, net.width)]
    sum(one.sum() for one in found).backward()
    learning = [p for name, p in net.named_parameters() if p.requires_grad and "pooler" not in name]
    assert learning and all(p.grad is not None and not p.grad.any() for p in learning)


@pytest.mark.parametrize("soft_prompts", [None, 3])
def test_states_of_vectors_are_those_of_tokens_and_later_words_can_be_hidden(folder: Path, soft_prompts: int | None):
    net = made(folder, soft_prompts=soft_prompts)
    tokens = net.trimmed(net.tokens(TEXTS))
    mask = tokens >= 0
    with torch.no_grad():
        states = net.states_of(net.vectors_of(tokens), mask)
        torch.testing.assert_close(states[mask], net.record(tokens).tokens[mask])
        whole = net.upto(tokens)
        for end in (2, 5):
            torch.testing.assert_close(whole[:1, :end], net.upto(tokens[:1, :end]), rtol=1e-4, atol=1e-5)
        last = torch.tensor([int(row.sum()) for row in mask]) - 1
        alone = net.record(tokens).tokens  # the last word sees the same either way only in a net of one layer
        assert (alone[0, last[0]] - whole[0, last[0]]).abs().max() > 1e-4


def test_diffcse_takes_a_masked_model_of_a_folder_as_generator(folder: Path, tmp_path: Path):
    (tmp_path / "lines.txt").write_text("\n".join(" ".join(WORDS[5 + n % 9 : 12 + n % 7]) for n in range(24)))
    how = {"steps": 2, "batch_size": 8, "checkpoint_every": 1, "threads": 1, "generator": f"mlm/{folder}"}
    run = nf.fit(tmp_path / "lines.txt", tmp_path / "run", method="diffcse", encoder=f"hf/{folder}", **how)
    method = run.fresh_method()
    filler, net = method.encoder.filler, method.replaced.net
    assert net.filler is filler and not any(p.requires_grad for p in filler.model.parameters())
    tokens = net.tokens(TEXTS)
    given, changed = method.encoder.replaced(tokens, 0.5, 1, torch.empty(0).long())
    assert changed.any() and torch.equal(changed, given != tokens)
    assert torch.equal(given[:, 0], tokens[:, 0])  # special tokens stay
    assert not any("filler" in key for key in method.state_dict())
    for file in (run.path / "checkpoints").glob("step-00000002*"):
        file.unlink()
    resumed = nf.resume(run.path).method.state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in run.method.state_dict().items())


@pytest.mark.parametrize("encoder", ["gru-8", "transformer-64x1", "ngrams-8"])
@pytest.mark.parametrize("setting", [{"lora": 2}, {"pooling": "cls"}, {"normalise": False}, {"most_tokens": 9}])
def test_settings_of_transformers_are_refused_by_encoders_that_do_not_take_them(encoder, setting, tmp_path: Path):
    (tmp_path / "lines.txt").write_text("a\nb\nc\nd")
    said = f"'{encoder}' takes no {next(iter(setting))}, which is for transformers by name or folder"
    with pytest.raises(ConfigError, match=said):
        nf.fit(tmp_path / "lines.txt", tmp_path / "run", encoder=encoder, steps=1, **setting)
    assert not (tmp_path / "run").exists()


def test_an_encoder_that_was_kept_takes_no_adapters_later(folder: Path, tmp_path: Path):
    (tmp_path / "lines.txt").write_text("\n".join(" ".join(WORDS[5 + n : 8 + n]) for n in range(8)))
    how = {"steps": 1, "batch_size": 4, "threads": 1}
    first = nf.fit(tmp_path / "lines.txt", tmp_path / "first", encoder=f"hf/{folder}", lora=2, **how)
    with pytest.raises(
        ConfigError, match=r"lora = 3: the encoder of .*first was made with lora = 2 and stays as it is"
    ):
        nf.fit(tmp_path / "lines.txt", tmp_path / "run", encoder=str(first.path), lora=3, **how)
    nf.fit(tmp_path / "lines.txt", tmp_path / "second", encoder=str(first.path), lora=2, **how)
    third = nf.fit(tmp_path / "lines.txt", tmp_path / "third", encoder=str(first.path), **how)
    assert all("lora" in name for name, p in third.method.encoder.named_parameters() if p.requires_grad)
