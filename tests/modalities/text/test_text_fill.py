"""Edits by a masked model: what is masked, what is filled, and which labels say so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, DataError
from nearfar.modalities.text import edits
from nearfar.modalities.text.fill import MaskedModel

CLS, SEP, MASK, SIZE = 1, 2, 3, 50
SPECIAL = (0, CLS, SEP, MASK)


class Says(nn.Module):
    """A masked model whose logits are a function of the ids, and which remembers what it saw."""

    def __init__(self, logits) -> None:
        super().__init__()
        self.words = nn.Embedding(SIZE, 1)
        self.logits = logits

    def get_input_embeddings(self) -> nn.Embedding:
        return self.words

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        self.seen, self.attended = input_ids, attention_mask
        return SimpleNamespace(logits=self.logits(input_ids))


def copier(ids: Tensor) -> Tensor:
    return nn.functional.one_hot(ids, SIZE).float()


def nine(ids: Tensor) -> Tensor:
    return copier(torch.full_like(ids, 9))


def texts(rows: int = 200, width: int = 52) -> Tensor:
    ids = torch.randint(10, SIZE, (rows, width), generator=torch.Generator().manual_seed(1))
    ids[:, 0], ids[:, -1] = CLS, SEP
    ids[0, 5:] = -1
    ids[0, 4] = SEP
    return ids


def seeds(count: int = 200, seed: int = 1) -> Tensor:
    return edits.seeds_of(1, count, torch.Generator().manual_seed(seed))[0]


def inner(ids: Tensor) -> Tensor:
    return (ids >= 0) & ~torch.isin(ids, torch.tensor(SPECIAL))


def test_nothing_masked_and_a_perfect_copier_change_nothing():
    ids = texts()
    edited = MaskedModel(Says(copier), MASK, SPECIAL).edit(ids, seeds(), rate=0.0)
    assert torch.equal(edited.tokens, ids) and not edited.changed.any()


def test_eighty_ten_ten():
    ids, model = texts(), Says(copier)
    MaskedModel(model, MASK, SPECIAL).edit(ids, seeds(), rate=0.3)
    seen, open_ = model.seen, inner(ids)
    assert torch.equal(model.attended.bool(), ids >= 0) and torch.equal(seen[~open_], ids[~open_].clamp(min=0))
    n = int(open_.sum())
    masked, other = (seen == MASK)[open_].sum().item(), ((seen != ids) & (seen != MASK))[open_].sum().item()
    for count, share in ((masked, 0.24), (other, 0.03 * (SIZE - 1) / SIZE)):
        assert abs(count - n * share) < 4 * (n * share * (1 - share)) ** 0.5 + 10
    replaced = seen[open_ & (seen != ids) & (seen != MASK)]
    assert len(replaced.unique()) > SIZE * 0.8  # any token of the vocabulary


def test_everywhere_or_only_where_tokens_were_chosen():
    ids, open_ = texts(), inner(texts())
    everywhere = MaskedModel(Says(nine), MASK, SPECIAL).edit(ids, seeds(), rate=0.3)
    assert (everywhere.tokens[open_] == 9).all() and torch.equal(everywhere.tokens[~open_], ids[~open_])
    assert torch.equal(everywhere.changed, open_)
    chosen = MaskedModel(Says(nine), MASK, SPECIAL).edit(ids, seeds(), rate=0.3, everywhere=False)
    n, share = int(open_.sum()), chosen.changed.sum().item() / int(open_.sum())
    assert abs(share - 0.3) < 4 * (0.21 / n) ** 0.5
    assert torch.equal(chosen.changed, chosen.tokens != ids) and (chosen.tokens[chosen.changed] == 9).all()


def test_samples_follow_the_distribution():
    ids = texts()

    def three(seen: Tensor) -> Tensor:
        logits = torch.full((*seen.shape, SIZE), -torch.inf)
        logits[..., 7:10] = torch.tensor([0.2, 0.3, 0.5]).log()
        return logits

    edited = MaskedModel(Says(three), MASK, SPECIAL).edit(ids, seeds(), rate=1.0, everywhere=False, sample=True)
    drawn = edited.tokens[inner(ids)]
    for token, share in ((7, 0.2), (8, 0.3), (9, 0.5)):
        assert abs((drawn == token).float().mean() - share) < 4 * (share * (1 - share) / len(drawn)) ** 0.5
    assert torch.isin(drawn, torch.tensor([7, 8, 9])).all()


def test_a_row_is_edited_alike_alone():
    ids, drawn, model = texts(), seeds(), MaskedModel(Says(nine), MASK, SPECIAL)
    together = model.edit(ids, drawn, everywhere=False)
    alone = model.edit(ids[:1, :5], drawn[:1], everywhere=False)
    assert torch.equal(together.tokens[:1, :5], alone.tokens) and torch.equal(together.changed[:1, :5], alone.changed)


def test_mistakes():
    model = MaskedModel(Says(nine), MASK, SPECIAL)
    with pytest.raises(ConfigError, match=r"rate must be between 0 and 1, not 1\.5"):
        model.edit(texts(), seeds(), rate=1.5)
    with pytest.raises(DataError, match="token 50 is not among the 50"):
        model.edit(torch.tensor([[CLS, 50, SEP]]), seeds(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("mlm")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(25))]
    (path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(path / "vocab.txt")).save_pretrained(path)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    torch.manual_seed(0)
    transformers.BertForMaskedLM(config).save_pretrained(path)
    return path


def test_a_model_from_a_folder_says_what_it_says(folder: Path):
    import transformers

    model = MaskedModel.load(f"mlm/{folder}")
    assert model.mask == 4 and set(model.special) == {0, 1, 2, 3, 4}
    assert not any(one.requires_grad for one in model.model.parameters()) and not model.model.training
    ids = torch.tensor([[2, 7, 8, 9, 3], [2, 10, 3, -1, -1]])
    edited = model.edit(ids, seeds(2), rate=0.0)
    judge = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        said = [judge(input_ids=row[row >= 0][None]).logits[0].argmax(1) for row in ids]
    assert edited.tokens[0, 1:4].equal(said[0][1:4]) and edited.tokens[1, 1] == said[1][1]
    assert edited.tokens[1].tolist()[2:] == [3, -1, -1]


def test_models_that_cannot_be_loaded(folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="has another vocabulary than the encoder"):
        MaskedModel.load(f"mlm/{folder}", vocabulary={"a": 0})
    with pytest.raises(ConfigError, match="write mlm/FOLDER, a local folder"):
        MaskedModel.load(f"mlm/{tmp_path}")
    with pytest.raises(ConfigError, match="write mlm/FOLDER, a local folder"):
        MaskedModel.load(str(folder))
