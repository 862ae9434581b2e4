"""Answers in their file, what follows from them, the items they join, and batches of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.data import ArraySource
from nearfar.data.answers import Answer, append_answer, groups_of, read_answers
from nearfar.data.grouped import GroupSampler
from nearfar.data.names import ids_of
from nearfar.errors import ConfigError, DataError

NAMES = list("abcdefg")


def source(ids: np.ndarray | None = None) -> ArraySource:
    pixels = np.arange(7, dtype=np.uint8).repeat(4).reshape(7, 1, 2, 2)
    return ArraySource("images", pixels, names=NAMES, ids=ids)


def test_an_answer_is_written_behind_others_as_people_may_name_rows(tmp_path: Path):
    path = tmp_path / "answers.csv"
    path.write_text("a,b,answer\nx,y,\n")
    append_answer(path, Answer('a, "quoted"', "two\nlines", True))
    append_answer(path, Answer("x", "z", False))
    assert read_answers(path) == [Answer('a, "quoted"', "two\nlines", True), Answer("x", "z", False)]
    assert path.read_text().startswith("a,b,answer\nx,y,\n")


def test_items_are_joined_over_rows_of_one_item_and_called_by_name_or_content():
    ids = np.array([0, 1, 2, 3, 1, 6, 9])  # the fifth row is the second item again
    answers = [Answer("e", "d", True), Answer("b", "c", True), Answer("g", "a", False)]
    found = groups_of(source(ids), answers)
    assert found.of[ids].tolist() == [0, 1, 1, 1, 1, 6, 9]
    assert found.answered.tolist() == [True, True, True, True, True, False, True]
    content = dict(zip(NAMES, ids_of(source(ids), "content"), strict=True))
    other = groups_of(source(ids), [Answer(content[one.a], content[one.b], one.near) for one in answers])
    assert other.of.tolist() == found.of.tolist() and other.digest == found.digest
    assert groups_of(source(ids), answers[:2]).digest != found.digest
    assert groups_of(source(), []).of.tolist() == list(range(7))


def test_answers_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="no row 'nobody', about which there is an answer"):
        groups_of(source(), [Answer("a", "nobody", True)])
    with pytest.raises(DataError, match="correct the answers"):
        groups_of(source(), [Answer("a", "b", True), Answer("b", "c", True), Answer("c", "a", False)])


def test_known_rows_stand_beside_others_of_their_group():
    groups = np.array([0] * 6 + [6] * 4 + list(range(10, 40)))
    known = np.arange(40) < 10
    sampler = GroupSampler(groups, known, batch_size=10, seed=3, share=0.4)
    assert (sampler.steps_per_epoch, sampler.batch_size) == (4, 10)
    met: list[int] = []
    for step in range(60):
        rows = sampler.batch(step)
        assert known[rows].tolist() == [True] * 4 + [False] * 6 and len(set(rows.tolist())) == 10
        assert groups[rows[0]] == groups[rows[1]] and groups[rows[2]] == groups[rows[3]]
        met += rows.tolist()
    assert set(met) == set(range(40))
    alone = [GroupSampler(groups, known, 10, seed=3, share=0.4, together=1).batch(step) for step in range(12)]
    assert any(groups[rows[0]] != groups[rows[1]] for rows in alone)
    assert sampler.batch(7).tolist() == GroupSampler(groups, known, 10, seed=3, share=0.4).batch(7).tolist()
    assert sampler.batch(0).tolist() != sampler.batch(4).tolist()


@pytest.mark.parametrize(
    ("known", "share", "expected"), [(0, 0.5, 0), (2, 0.5, 2), (20, 0.0, 0), (19, 0.2, 7), (20, 1.0, 8)]
)
def test_a_batch_is_full_whatever_is_known(known: int, share: float, expected: int):
    rows = np.arange(20)
    sampler = GroupSampler(rows, rows < known, batch_size=8, seed=0, share=share)
    if (known, share) == (20, 0.0):
        expected = 8  # there are no others
    for step in range(3):
        assert (sampler.batch(step) < known).sum() == expected and len(set(sampler.batch(step).tolist())) == 8


def test_what_decides_the_batches_is_in_the_state():
    one, other = (GroupSampler(np.arange(4), np.ones(4, bool), 2, seed=0, digest=digest) for digest in ("x", "y"))
    assert one.state() != other.state()
    with pytest.raises(ConfigError, match="together must be 1 or more"):
        GroupSampler(np.arange(4), np.ones(4, bool), 2, seed=0, together=0)
