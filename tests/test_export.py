"""What others load: sentence-transformers folders and ONNX files give nearfar's vectors."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import nearfar as nf
from nearfar.errors import ConfigError, NearfarError
from nearfar.exporting import export

TEXTS = ["a", "two words", "Ein Käfig 猫 🐈", "a longer text with words " * 20, "hidden, and found"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    tokeniser = nf.modalities.find("text").encoder("minilm", {}, nf.modalities.find("text").Options())[1].tokeniser
    place = tmp_path_factory.mktemp("export")
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(**sizes)).save_pretrained(place / "model")
    tokeniser.save_pretrained(place / "model")
    (place / "lines.txt").write_text("\n".join(f"{text} {n}" for n in range(4) for text in TEXTS), encoding="utf-8")
    how = {"pooling": "weighted", "normalise": True, "width": 16, "most_tokens": 20, "lora": 2, "lr": 0.1}
    how |= {"query_prompt": "query: "}
    return nf.fit(
        place / "lines.txt",
        place / "run",
        method="simclr",
        encoder=f"hf/{place / 'model'}",
        steps=2,
        batch_size=8,
        **how,
    )


def vectors(run: nf.Run, texts: list[str]) -> np.ndarray:
    encoder = run.method.encoder.eval()
    return encoder(encoder.tokens(texts)).detach().numpy()


def test_a_sentence_transformers_folder_gives_the_same_vectors(run, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    export(run, tmp_path / "out")
    loaded = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    got = loaded.encode(TEXTS)
    assert got.shape == (5, 16)
    assert np.abs(got - vectors(run, TEXTS)).max() < 1e-6
    assert np.abs(loaded.encode(TEXTS, prompt_name="query") - vectors(run, ["query: " + t for t in TEXTS])).max() < 1e-6


def test_a_folder_that_was_written_is_read_again(run, tmp_path):
    export(run, tmp_path / "out")
    options = nf.modalities.find("text").Options()
    again = nf.modalities.find("text").encoder(f"hf/{tmp_path / 'out'}", {}, options)[1].eval()
    got = again(again.tokens(TEXTS)).detach().numpy()
    assert np.abs(got - vectors(run, TEXTS)).max() < 1e-6
    assert again.settings.normalise and again.settings.most_tokens == 20 and again.settings.pooling == "weighted"


def test_an_onnx_file_holds_tokeniser_settings_and_its_parity(run, tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from tokenizers import Tokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what tracing could miss is measured, not said
        written = export(run, tmp_path / "encoder.onnx", "onnx")
    said = {entry.key: entry.value for entry in onnx.load(str(written.path)).metadata_props}
    assert float(said["parity"]) == pytest.approx(written.parity, rel=0.01) and written.parity < 1e-5
    assert json.loads(said["settings"])["pooling"] == "weighted"
    tokeniser = Tokenizer.from_str(said["tokenizer.json"])
    tokeniser.enable_truncation(20)
    tokeniser.enable_padding()
    coded = tokeniser.encode_batch(TEXTS)
    feed = {
        "input_ids": np.array([c.ids for c in coded]),
        "attention_mask": np.array([c.attention_mask for c in coded]),
    }
    got = runtime.InferenceSession(str(written.path)).run(None, feed)[0]
    assert np.abs(got - vectors(run, TEXTS)).max() < 1e-5


def test_the_card_says_what_was_done_and_claims_nothing_else(run):
    from nearfar.exporting import card

    text = card(run)
    assert text.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "Method simclr on lines.txt (20 items)" in text and "None were measured." in text
    assert run.start["sha256"] in text


def test_what_cannot_be_exported_is_refused(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(NearfarError, match="is there already"):
        export(run, tmp_path / "full")
    with pytest.raises(ConfigError, match="there is no format 'gguf'"):
        export(run, tmp_path / "new", "gguf")
    with pytest.raises(ConfigError, match=r"end in \.onnx"):
        export(run, tmp_path / "new", "onnx")
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(TEXTS), encoding="utf-8")
    static = nf.fit(lines, tmp_path / "static", method="simclr", encoder="ngrams-8", steps=1)
    with pytest.raises(ConfigError, match="only transformers on texts"):
        export(static, tmp_path / "new")
