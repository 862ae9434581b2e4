"""Two texts read as one by a transformer: which tokens are of which text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nearfar.modalities.text.encoders import encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "e", "f", "g"]
PAIRS = [("a b", "c d e"), ("a b c d", "e"), ("g", "a a b")]


@pytest.mark.parametrize(("types", "packs"), [(2, None), (2, False), (1, None)])
def test_a_pair_is_read_as_the_tokeniser_and_the_net_alone_read_it(tmp_path: Path, types: int, packs: bool | None):
    transformers = pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=12, initializer_range=0.5, type_vocab_size=types, **sizes)
    transformers.BertModel(config).save_pretrained(tmp_path)
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    net: Any = encoder(f"hf/{tmp_path}")[1].eval()
    net._packs = packs  # None: as the encoder decides, which is behind one another here
    with torch.no_grad():
        found = net(net.joined(*map(list, zip(*PAIRS, strict=True))))
        alone = net(net.tokens([" ".join(pair) for pair in PAIRS]))
        for row, (text, other) in enumerate(PAIRS):
            given = net.tokeniser(text, other, return_tensors="pt")
            if types == 1:
                given.pop("token_type_ids")
            want = net.model(**given).last_hidden_state[0].mean(0)
            torch.testing.assert_close(found[row], want, rtol=1e-4, atol=1e-5)
            one = net.tokeniser(f"{text} {other}", return_tensors="pt")["input_ids"]
            torch.testing.assert_close(alone[row], net.model(one).last_hidden_state[0].mean(0), rtol=1e-4, atol=1e-5)
