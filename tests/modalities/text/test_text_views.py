"""Views of texts: what each recipe does to real tokens, and that a view is a function of text and seed alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nearfar as nf
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.text.encoders import encoder
from nearfar.modalities.text.recipes import ALIASES, RECIPES, TextRecipe, resolve
from nearfar.modalities.text.texts import Texts
from nearfar.modalities.text.variants import Variants
from nearfar.modalities.text.views import TextViews

CLS, SEP, MASK = 1, 2, 3
TEXTS = [
    "the quick brown fox jumps over the lazy dog, and runs away into a deep dark wood",
    "one",
    "",
    "我喜欢喝绿茶。",
    "cafe\u0301 👍🏽 naïve",
    "שלום עולם",
    "  two   words ",
]


class Spelling:
    """An encoder's tokeniser whose tokens are words between spaces, so that tokens can be read."""

    def __init__(self, most: int | None = None) -> None:
        self.special = {"cls": CLS, "sep": SEP, "mask": MASK, "pad": 0}
        self.ids = {"[PAD]": 0, "[CLS]": CLS, "[SEP]": SEP, "[MASK]": MASK}
        if most is not None:
            self.settings = type("Settings", (), {"most_tokens": most})

    def tokens(self, texts: list[str]) -> Tensor:
        rows = []
        for text in texts:
            ids = [self.ids.setdefault(word, len(self.ids)) for word in text.split()]
            rows.append(torch.tensor([CLS, *ids, SEP]))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)

    def read(self, tokens: Tensor) -> list[list[str]]:
        rows, words = [], list(self.ids)
        for row in tokens.tolist():
            row = [one for one in row if one >= 0]
            assert row[0] == CLS and row[-1] == SEP
            rows.append([words[one] for one in row[1:-1]])
        return rows


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views(recipe: Any = "auto", count: int = 2, **settings: Any) -> TextViews:
    if isinstance(recipe, str) and "variants" in recipe:
        settings.setdefault("variants", Variants([(TEXTS[0], "a fox runs"), ("one", "1")]))
    return TextViews(("text",), count, settings.pop("encoder", Spelling()), recipe=recipe, **settings)


def seen(recipe: Any, texts: list[str], seed: int = 0, count: int = 2, **settings: Any) -> list[list[list[str]]]:
    made = views(recipe, count, **settings)
    return [made.encoder.read(view) for view in made(Texts((texts,)), drawn(seed))]


@pytest.mark.parametrize("name", [*RECIPES, *ALIASES])
def test_a_view_is_a_function_of_text_and_generator(name: str):
    state = torch.get_rng_state()
    made = views(name, 3)
    texts = [*TEXTS * 3, " ".join(map(str, range(600)))]
    one, two = (made(Texts((texts,)), drawn(7)) for _ in range(2))
    assert len(one) == 3 and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    other = made(Texts((texts,)), drawn(8))
    assert (name in ("dropout", "variants", "phrases", *ALIASES)) == all(map(torch.equal, one, other))
    assert torch.equal(torch.get_rng_state(), state)
    part = made(Texts((texts,)), drawn(7), part=slice(4, 9))
    for whole, few in zip(one, part, strict=True):
        assert made.encoder.read(whole[4:9]) == made.encoder.read(few)


@pytest.mark.parametrize("name", RECIPES)
def test_strength_nothing_changes_nothing(name: str):
    made = views(name, strength=0.0)
    for view in made(Texts((TEXTS,)), drawn()):
        assert torch.equal(view, made.encoder.tokens(TEXTS))


@pytest.mark.parametrize("name", RECIPES)
def test_no_text_becomes_empty_even_at_a_great_strength(name: str):
    for strength in (1.0, 100.0):
        for view in seen(name, TEXTS, count=3, strength=strength):
            assert [bool(row) for row in view] == [bool(text.strip()) for text in TEXTS]


@pytest.mark.parametrize("name", RECIPES)
def test_a_batch_of_one(name: str):
    for text in ("one", ""):
        assert [len(view) for view in views(name)(Texts(([text],)), drawn())] == [1, 1]


def test_dropout_shows_the_text_twice():
    one, two = views()(Texts((TEXTS,)), drawn())
    assert torch.equal(one, two)


def test_spans_of_several_texts_are_refused():
    for recipe in ("span", "ict"):
        with pytest.raises(ConfigError, match=f"{recipe!r} takes parts of one text"):
            TextViews(("anchor", "positive"), 2, Spelling(), recipe=recipe)


def test_phrases_are_two_parts_of_the_text():
    texts = ["When it rains, we stay.", "one", ""]
    assert seen("phrases", texts, count=3) == [
        [text.split() for text in texts],
        [["When", "it", "rains,"], ["one"], []],
        [["we", "stay."], ["one"], []],
    ]


@pytest.mark.parametrize("name", ["esimcse", "tsdae", "variants"])
def test_the_first_view_is_the_text(name: str):
    one, two, three = seen(name, TEXTS, count=3)
    assert one == [text.split() for text in TEXTS] != two
    assert (two == three) == (name == "variants")


def test_words_are_deleted_before_the_text_is_cut_to_tokens():
    assert seen(TextRecipe(level="words", delete=1.0), ["我喜欢喝绿茶。"], 1)[0][0][0] in "我喜欢喝绿茶。"
    assert seen(TextRecipe(level="tokens", delete=0.9), ["我喜欢喝绿茶。"], 1)[0] == [["我喜欢喝绿茶。"]]


def test_repeated_tokens_keep_to_what_the_encoder_takes():
    text = " ".join(map(str, range(20)))
    for most, allowed in ((None, {20, 21, 22}), (23, {20, 21}), (22, {20})):
        recipe = TextRecipe(repeat=0.1)
        lengths = {len(row) for row in seen(recipe, [text] * 40, 1, 1, encoder=Spelling(most))[0]}
        assert lengths == allowed


def test_masks_stand_in_the_place_of_tokens():
    text = " ".join(map(str, range(400)))
    masked = seen(TextRecipe(mask=0.25), [text], 1)[0][0]
    assert all(after in (before, "[MASK]") for before, after in zip(text.split(), masked, strict=True))
    assert abs(masked.count("[MASK]") / 400 - 0.25) < 4 * (0.1875 / 400) ** 0.5


@pytest.mark.parametrize("level", ["words", "tokens"])
def test_two_crops_of_a_document_lie_in_one_window(level: str):
    """The window of Contriever is one piece of the document; its crops have 5 to 50 % of it each."""
    documents = [" ".join(map(str, range(3000)))] * 50
    recipe = TextRecipe(level=level, window=256, crop=(0.05, 0.5))  # type: ignore[arg-type]
    for rows in zip(*seen(recipe, documents, 3), strict=True):
        places = [[int(word) for word in row] for row in rows]
        for row in places:
            assert row == list(range(row[0], row[0] + len(row))) and 12 <= len(row) <= 128
        assert max(map(max, places)) - min(map(min, places)) < 256


def test_spans_of_a_document_touch_and_anchors_are_longer():
    """DeCLUTR: lengths from Beta(4, 2) and Beta(2, 4) between 32 and 512, and positives begin beside the anchor."""
    documents = [" ".join(map(str, range(2000)))] * 300
    lengths = []
    for rows in zip(*seen("span", documents, 3, count=3), strict=True):
        anchor, *others = ([int(word) for word in row] for row in rows)
        lengths.append([len(anchor), *map(len, others)])
        for row in (anchor, *others):
            assert row == list(range(row[0], row[0] + len(row))) and 32 <= len(row) <= 512
        for row in others:
            assert row[0] <= anchor[-1] + 1 and row[-1] >= anchor[0] - 1
    means = torch.tensor(lengths).float().mean(0)
    assert (means - torch.tensor([352.0, 192.0, 192.0])).abs().max() < 4 * 86 / 300**0.5


@pytest.mark.parametrize("level", ["words", "tokens"])
def test_a_part_and_the_rest_are_the_document(level: str):
    recipes = [TextRecipe(level=level, span=(8, 32)), TextRecipe(level=level, rest=1.0)]  # type: ignore[arg-type]
    document = [str(i) for i in range(100)]
    for part, rest in zip(*seen(recipes, [" ".join(document)] * 20), strict=True):
        start = int(part[0])
        assert document[start : start + len(part)] == part and 8 <= len(part) <= 32
        assert document[:start] + document[start + len(part) :] == rest


def test_spans_beside_each_other_within_windows_of_different_size():
    recipes = [TextRecipe(span=(5, 5), window=20), TextRecipe(span=(5, 9), window=10, beside=True)]
    for view in seen(recipes, [" ".join(map(str, range(100))), "a b c"] * 50):
        for row in view[::2]:
            assert [int(word) for word in row] == list(range(int(row[0]), int(row[0]) + len(row)))
        assert all(row == ["a", "b", "c"] for row in view[1::2])


def test_a_prompt_is_never_edited():
    made = views(TextRecipe(delete=0.5, mask=0.5, shuffle=1.0), 1, prompts={"text": "ask this: "})
    for row in made.encoder.read(made(Texts((TEXTS * 5,)), drawn())[0]):
        assert row[:2] == ["ask", "this:"]
    made = views(TextRecipe(level="words", delete=1.0), 1, prompts={"text": "ask this: "})
    assert all(len(row) <= 3 for row in made.encoder.read(made(Texts((TEXTS[:2],)), drawn())[0]))


def test_items_of_several_texts_have_a_recipe_for_each():
    texts = Texts((["a b c d"] * 9, ["e f g h"] * 9, ["i j k l", ""] * 4 + [""]), ("anchor", "positive", "negative"))
    made = TextViews(texts.names, 2, Spelling(), recipe="dropout+tsdae")
    anchor, positive, negative = made(texts, drawn())
    assert made.encoder.read(anchor) == [["a", "b", "c", "d"]] * 9
    assert all(set(row) < {"e", "f", "g", "h"} for row in made.encoder.read(positive[:1]))
    assert ((negative >= 0).sum(1) > 0).tolist() == [True, False] * 4 + [False]
    assert torch.equal(made.plain(texts), made.encoder.tokens(["a b c d"] * 9))


def test_variants_come_from_a_file(tmp_path: Path):
    file = tmp_path / "v.jsonl"
    file.write_text(json.dumps({"text": "one", "variant": "uno"}) + "\n")
    assert seen("auto", ["one", "two"], variants=file) == [[["one"], ["two"]], [["uno"], ["two"]]]
    made = views(variants=tmp_path / "none.jsonl")  # which plain texts do not need
    assert made.plain(Texts((["one"],))).shape == (1, 3)
    with pytest.raises(DataError, match="cannot be read"):
        made(Texts((["one"],)), drawn())


@pytest.mark.parametrize("recipe", ["span", TextRecipe("own", delete=0.2), "dropout+crop", "variants"])
def test_settings_make_the_same_views_again(recipe: Any, tmp_path: Path):
    file = tmp_path / "v.jsonl"
    file.write_text(json.dumps({"text": "one", "variant": "uno"}))
    settings = {"variants": file} if recipe == "variants" else {}
    made = views(recipe, strength=0.7, prompts={"text": "q: "}, **settings)
    again = TextViews.from_config(json.loads(json.dumps(made.config())), made.encoder)
    assert again.config() == made.config()
    texts = Texts((TEXTS,))
    assert all(map(torch.equal, made(texts, drawn(3)), again(texts, drawn(3))))


def test_strength_scales_shares():
    recipe = TextRecipe(delete=0.2, mask=0.4, crop=(0.1, 0.5))
    assert recipe.at(0.5) == TextRecipe(delete=0.1, mask=0.2, crop=(0.1, 0.5), cut=0.5)
    assert recipe.at(9).mask == 1.0 and recipe.at(0).still and not recipe.still
    assert [one.name for one in resolve("dropout+tsdae+span")] == ["dropout", "tsdae", "span"]
    assert resolve("dropout+tsdae+span")[1].delete == 0.6 and resolve("dropout+tsdae+span")[2].beside


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "esimsce"}, "no view recipe is called 'esimsce'. Did you mean 'esimcse'? Known: auto, none"),
        ({"recipe": "delete+nothing"}, "no view recipe is called 'nothing'"),
        ({"recipe": []}, "must hold one TextRecipe"),
        ({"recipe": [TextRecipe()] * 3}, "there are 2 views but 3 view recipes are listed"),
        ({"count": 0}, "there are 0 views"),
        ({"strength": -1.0}, "strength must be at least 0, not -1.0"),
        ({"recipe": "variants", "variants": None}, "recipe 'variants' needs a file of variants: set variants=FILE"),
        ({"recipe": "delete", "variants": "f.jsonl"}, "variants are given but recipe 'delete' takes none"),
        ({"recipe": "mask", "encoder": encoder("ngrams-8")[1]}, "recipe 'mask' masks, and this encoder has no mask"),
        ({"recipe": [TextRecipe("a"), TextRecipe("b", rest=1.0)]}, "'b' leaves out what the first view takes"),
        ({"recipe": TextRecipe("b", rest=1.0)}, "'b' leaves out what the first view takes"),
        (
            {"recipe": [TextRecipe(window=9), TextRecipe("b", "words", window=9, beside=True)]},
            "recipe 'b' must be of the level of the first view, 'tokens'",
        ),
    ],
)
def test_impossible_settings(settings: dict, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        views(**settings)


@pytest.mark.parametrize(
    "values",
    [
        {"delete": 1.1}, {"mask": -0.1}, {"level": "letters"}, {"phrase": "middle"},
        {"window": 0}, {"crop": (0.5, 0.2)}, {"crop": (0, 1)},
        {"span": (0, 3)}, {"span": (5, 3)}, {"shape": (0.5, 1)}, {"repeat_most": 0}, {"typos": float("nan")},
        {"span": (1, 3), "crop": (0.1, 0.2)}, {"beside": True, "variant": 0.5},
        {"rest": 0.5, "variant": 0.5}, {"rest": 0.5, "crop": (0.1, 0.2)},
    ],
)  # fmt: skip
def test_impossible_recipes(values: dict[str, Any]):
    with pytest.raises(ConfigError, match=f"'custom': {next(iter(values))} must be"):
        TextRecipe(**values)


def test_a_run_with_edited_views_can_be_embedded_without_its_variants(tmp_path: Path):
    lines, file = tmp_path / "lines.txt", tmp_path / "v.jsonl"
    texts = [f"line number {i} of the file" for i in range(16)]
    lines.write_text("\n".join(texts))
    file.write_text("".join(json.dumps({"text": text, "variant": text[5:]}) + "\n" for text in texts))
    run = nf.fit(lines, tmp_path / "run", encoder="ngrams-8", steps=2, batch_size=4, variants=str(file))
    file.unlink()
    assert run.embed(lines).vectors.shape == (16, 8)
    for recipe in ("delete", "dropout+crop"):
        nf.fit(lines, tmp_path / recipe, encoder="ngrams-8", steps=2, batch_size=4, recipe=recipe, strength=0.5)
