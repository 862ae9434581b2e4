"""Texts as words and back, in scripts with and without spaces; phrases; typing mistakes and punctuation."""

from __future__ import annotations

import unicodedata

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nearfar.modalities.text import edits
from nearfar.modalities.text.words import PUNCTUATION, Words, phrases, split

TEXTS = st.lists(st.text(max_size=30), min_size=1, max_size=4)


def seeds(count: int, seed: int) -> torch.Tensor:
    return edits.seeds_of(1, count, torch.Generator().manual_seed(seed))[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n\u3000", []),
        ("Don't e-mail me,  please!", ["Don't", "e-mail", "me,", "please!"]),
        ("我喜欢iPhone手机。", ["我", "喜", "欢", "iPhone", "手", "机", "。"]),
        ("コーヒー 飲む", ["コ", "ー", "ヒ", "ー", "飲", "む"]),
        ("か\u3099き", ["か\u3099", "き"]),  # a combining voiced sound mark
        ("ง่าย", ["ง่", "า", "ย"]),  # a tone mark stays with its letter
        ("ខ្មែរ", ["ខ្", "មែ", "រ"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("cafe\u0301 nai\u0308ve", ["cafe\u0301", "nai\u0308ve"]),
        ("好👍🏽吧 👩‍👩‍👧", ["好", "👍🏽", "吧", "👩‍👩‍👧"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("𠀀𠀁", ["𠀀", "𠀁"]),
    ],
)
def test_words(text: str, words: list[str]):
    assert split(text) == words


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
@example("a\u0301\u3000\u3001\u0e48")
def test_nothing_but_space_is_lost(text: str):
    assert "".join(split(text)) == "".join(text.split())


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_unedited_words_are_the_text_bit_by_bit(texts: list[str]):
    batch = Words(texts)
    assert batch.texts(batch.ids) == texts
    assert batch.lengths.tolist() == [len(split(text)) for text in texts]


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(0, 2**32))
@example(["one two", ""], 0)
def test_edited_words_are_words_of_the_text(texts: list[str], seed: int):
    drawn = seeds(len(texts), seed)
    batch = Words(texts)
    for text, made in zip(texts, batch.texts(edits.delete(batch.ids, drawn, 0.9)), strict=True):
        rest = iter("".join(text.split()))
        assert all(letter in rest for letter in "".join(made.split()))
        assert bool(made.strip()) == bool(text.strip())
    for text, made in zip(texts, batch.texts(edits.shuffle(batch.ids, drawn, 1.0)), strict=True):
        assert sorted("".join(made.split())) == sorted("".join(text.split()))


@pytest.mark.parametrize(
    ("text", "order", "made"),
    [
        ("one  two three", [0, 1], "one  two"),  # the space that was there
        ("one two three", [0, 2], "one three"),
        ("one two three", [2, 2, 0], "three three one"),
        ("我喝茶", [0, 2], "我茶"),
        ("我喝茶", [2, 1, 1], "茶喝喝"),
        ("我喝green茶", [0, 2, 3], "我 green茶"),
        (" one two ", [1], "two"),
    ],
)
def test_joining(text: str, order: list[int], made: str):
    assert Words([text]).texts(torch.tensor([order])) == [made]


def test_a_text_without_words_stays():
    batch = Words(["", "  ", "one"])
    drawn = seeds(3, 1)
    assert batch.texts(edits.delete(batch.ids, drawn, 1.0)) == ["", "  ", "one"]
    assert Words([""]).ids.shape == (1, 0) and Words([]).ids.shape == (0, 0)
    assert Words([""]).texts(edits.repeat(Words([""]).ids, drawn[:1], 1.0)) == [""]


def test_punctuation_goes_behind_words():
    text = " ".join(f"w{i}" for i in range(300))
    batch = Words([text, "我"])
    made, other = batch.texts(batch.punctuated(batch.ids, seeds(2, 1), 0.2))
    added = [word for word in made.split() if word in PUNCTUATION]
    assert [word for word in made.split() if word not in PUNCTUATION] == text.split()
    assert abs(len(added) / 300 - 0.2) < 4 * (0.16 / 300) ** 0.5 and set(added) == set(PUNCTUATION)
    assert other in {"我", *(f"我 {mark}" for mark in PUNCTUATION)}


def test_a_typing_mistake_exchanges_two_inner_letters():
    texts = ["the quick brown foxes jumped over it " * 30, "4711-0815 a_b_c_d"]
    batch = Words(texts)
    made, numbers = batch.texts(batch.mistyped(batch.ids, seeds(2, 1), 0.5))
    changed = 0
    for before, after in zip(texts[0].split(), made.split(), strict=True):
        swaps = {before[:i] + before[i + 1] + before[i] + before[i + 2 :] for i in range(1, len(before) - 2)}
        assert after == before or (len(before) >= 4 and after in swaps)
        changed += after != before
    assert abs(changed / 150 - 0.5) < 4 * (0.25 / 150) ** 0.5
    assert numbers == texts[1]
    assert batch.texts(batch.mistyped(batch.ids, seeds(2, 1), 0.0)) == texts


def test_a_combining_mark_stays_with_its_letter():
    text = unicodedata.normalize("NFD", "ééééé")
    batch = Words([text])
    assert batch.texts(batch.mistyped(batch.ids, seeds(1, 1), 1.0)) == [text]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", "")),
        ("one", ("one", "one")),
        ("one two", ("one", "two")),
        ("a b c d", ("a b", "c d")),
        ("When it rains, we stay.", ("When it rains,", "we stay.")),
        (
            "Oh, this is a much longer thing; you see it here now",
            ("Oh, this is a much longer thing;", "you see it here now"),
        ),
        ("Ends with a stop.", ("Ends with", "a stop.")),
        ("我来了。你好吗", ("我来了。", "你好吗")),
        ("  spaced   out  ", ("spaced", "out")),
    ],
)
def test_phrases(text: str, parts: tuple[str, str]):
    assert phrases(text) == parts


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_phrases_share_out_the_words(text: str):
    left, right = phrases(text)
    words = split(text)
    assert split(left) + split(right) == (words if len(words) > 1 else words * 2)
