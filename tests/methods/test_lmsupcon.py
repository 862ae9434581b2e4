"""Words in the blank of a template: where they stand, what is asked of them, by whom in which update."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.data.batch import Batch
from nearfar.errors import ConfigError, DataError
from nearfar.methods import LMSupCon
from nearfar.modalities.text.encoders import encoder
from nearfar.modalities.text.encoders.scratch import MASK, Recurrent, _id
from nearfar.objectives import SupCon
from nearfar.run import Run, fit, resume

WORDS = {"good": "great", "bad": "dull"}
TEXTS = ["a fine film", "far too long", "warm and funny", "no story at all", "bright", "a waste of time it was"]
PLAIN = {"words": WORDS, "templates": ("{text} it was {mask}", "{mask} : {text}")}


def made(**options: Any) -> LMSupCon:
    torch.manual_seed(0)
    method = LMSupCon(Recurrent(8, dropout=0.0), LMSupCon.Options(**{**PLAIN, "projection": 6, **options}))
    return method.double()


def data(method: Any) -> Batch:
    tokens = method.encoder.tokens(TEXTS)
    return Batch([tokens], torch.arange(6), torch.tensor([0, 1, 0, 1, 0, -1]))


def test_a_template_is_put_around_every_text_and_its_blank_is_found():
    net = Recurrent(8)
    tokens, blanks = net.prompted(net.tokens(["a cat", "one more text"]), "so {mask} , {text} !")
    want = [
        [_id("so"), MASK, _id(","), *(_id(word) for word in text.split()), _id("!")]
        for text in ("a cat", "one more text")
    ]
    assert [row[row >= 0].tolist() for row in tokens] == want and blanks.tolist() == [1, 1]
    tokens, blanks = net.prompted(net.tokens(["a cat", "one more text"]), "{text} was {mask} then")
    assert blanks.tolist() == [3, 4] and all(int(row[at]) == MASK for row, at in zip(tokens, blanks, strict=True))
    long = net.tokens([" ".join(f"w{n}" for n in range(200))])
    tokens, blanks = net.prompted(long, "{text} was {mask}")
    assert tokens.shape == (1, 128) and blanks.tolist() == [127] and tokens[0, :126].equal(long[0, :126])


def test_the_value_is_the_contrast_of_both_templates_and_the_cross_entropy_of_the_words():
    method = made(turns=False, contrast_weight=0.5).eval()
    batch = data(method)
    views = [method.project(view) for view in batch.views]
    got = method.contrast(views, batch)
    net, head = method.encoder.inner, method.encoder.word_head
    losses, states = [], []
    for template in ("{} it was \0", "\0 : {}"):
        rows = []
        for text in TEXTS:
            ids = [MASK if word == "\0" else _id(word) for word in template.format(text).split()]
            rows.append(net.record(torch.tensor([ids])).tokens[0, ids.index(MASK)])
        states.append(torch.stack(rows))
    for state, label in zip(states[0], [0, 1, 0, 1, 0], strict=False):
        hidden = head.norm(torch.nn.functional.gelu(head.inward(state)))
        scores = [(net.vectors.weight[_id(word)] @ hidden + head.bias[_id(word)]).item() for word in ("great", "dull")]
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[label])
    assert got.terms["words"].item() == pytest.approx(np.mean(losses), rel=1e-9)
    rows = [method.head(one) for one in states]
    want = 0.5 * SupCon(temperature=0.07)(*rows, labels=batch.labels).item() + np.mean(losses)
    assert got.loss.item() == pytest.approx(want, rel=1e-9)


def test_contrast_and_words_have_updates_of_their_own_in_turns():
    method = made()
    batch, seen = data(method), []
    for step in range(4):
        said = method.contrast([method.project(view) for view in batch.views], batch)
        seen.append("words" in said.terms)
        method.after_step(step, 4)
    assert seen == [False, True, False, True]
    alone = made(contrast_weight=0.0)
    for step in range(2):
        assert list(alone.contrast([alone.project(view) for view in batch.views], batch).terms) == ["words"]
        alone.after_step(step, 2)
    assert not alone.contrasts


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of which one word in six says the class."""
    draw, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "few.csv"
    others = [f"w{n}" for n in range(12)]
    rows = []
    for n in range(48):
        words = [*draw.choice(others, 5), ("fine", "poor")[n % 2]]
        rows.append(f"{' '.join(draw.permutation(words))},{('good', 'bad')[n % 2]}")
    path.write_text("\n".join(["text,label", *rows]))
    return path


def test_it_learns_to_answer_is_resumed_to_the_same_bits_and_embeds_its_answers(table: Path, tmp_path: Path):
    how: dict[str, Any] = {"steps": 60, "batch_size": 16, "lr": 1e-2, "checkpoint_every": 31, "threads": 1}
    how |= {"words": WORDS, "progress": False, "dropout": 0.0, "embedding": "answers"}
    run = fit(table, tmp_path / "run", method="lmsupcon", encoder="gru-16", **how)
    assert run.config["method_options"]["words"] == {"bad": "dull", "good": "great"}  # in the order of the classes
    found = run.embed(table, progress=False)
    np.testing.assert_allclose(np.exp(found.vectors).sum(1), 1, rtol=1e-5)
    assert (found.vectors.argmax(1) == found.labels).mean() == 1.0
    for file in (run.path / "checkpoints").glob("step-00000060*"):
        file.unlink()
    again = resume(run.path, progress=False).method.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in Run.load(run.path).method.state_dict().items())
    assert all(torch.equal(value, again[key]) for key, value in run.method.state_dict().items())


def test_a_masked_model_answers_as_it_was_published(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "mlm"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "it", "was", "great", "dull", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=16, initializer_range=0.5, **sizes)
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    few = tmp_path / "few.csv"
    few.write_text("text,label\na film,good\nfilm a film,bad\na a film,good\nfilm film,bad")
    how: dict[str, Any] = {"words": WORDS, "templates": ["{text} it was {mask} ."], "embedding": "answers"}
    run = fit(few, tmp_path / "run", method="lmsupcon", encoder=f"hf/{folder}", generator=str(folder), steps=1,
              batch_size=4, progress=False, **how)  # fmt: skip
    start = run.fresh_method().encoder.eval()
    judge = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    ids = torch.tensor([[2, 5, 6, 7, 8, 4, 11, 3]])  # [CLS] a film it was [MASK] . [SEP]
    with torch.no_grad():
        want = judge(input_ids=ids).logits[0, 5, [10, 9]].log_softmax(0)  # dull of "bad", great of "good"
        torch.testing.assert_close(start(start.tokens(["a film"]))[0], want, rtol=1e-3, atol=1e-3)
    with pytest.raises(ConfigError, match="'film a' is 2 tokens to this encoder"):
        nf.fit(
            few,
            tmp_path / "no",
            method="lmsupcon",
            encoder=f"hf/{folder}",
            words={"bad": "dull", "good": "film a"},
            steps=1,
        )
    with pytest.raises(ConfigError, match="'boring' is unknown to this encoder"):
        nf.fit(
            few,
            tmp_path / "no",
            method="lmsupcon",
            encoder=f"hf/{folder}",
            words={"bad": "boring", "good": "great"},
            steps=1,
        )


def test_what_cannot_be_asked_is_refused(table: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"a template has {text} and {mask}, each once, and 'It was {mask}' has not"):
        made(templates=("It was {mask}",))
    with pytest.raises(ConfigError, match="there is no class 'nice'; there are bad, good"):
        fit(table, tmp_path / "run", method="lmsupcon", encoder="gru-8", words={"nice": "fine"})
    with pytest.raises(ConfigError, match="two classes have the same word"):
        made(words={"good": "fine", "bad": "Fine"})
    with pytest.raises(ConfigError, match="leaves no room for a text in 128 tokens"):
        net = encoder("gru-8")[1]
        net.prompted(net.tokens(["a"]), "{text} {mask}" + " so" * 200)  # type: ignore[operator]
    method = made(turns=False)
    batch = Batch([method.encoder.tokens(TEXTS)], torch.arange(6), torch.arange(6) % 3)
    with pytest.raises(DataError, match="label 2 has no word, there are 2"):
        method.contrast([method.project(view) for view in batch.views], batch)
    with pytest.raises(ConfigError, match="these data do not name two"):
        LMSupCon.Options().settled({"classes": []})


def test_empty_texts_and_no_texts_have_states():
    method = made().eval()
    none = method.encoder(torch.zeros(0, 4, dtype=torch.long))
    assert none.shape == (0, 8) and method.encoder(torch.full((1, 3), -1)).isfinite().all()
