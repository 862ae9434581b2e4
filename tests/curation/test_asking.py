"""Questions are the least sure pairs, nothing that follows is asked, and answers become what fit learns from."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from nearfar.curation.asking import Question, ask_all, by_column, questions, training_table
from nearfar.data.answers import Answer, closure, read_answers
from nearfar.errors import ConfigError, DataError
from nearfar.store import Store
from saying import Command

ANGLES = np.array([0.0, 0.1, 0.5, 1.5, 1.6, 2.0, 3.0, 3.1])
IDS = list("abcdefgh")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "s", 2, columns={"text": "string"})
    made.add(IDS, np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), {"text": [f"words of {one}" for one in IDS]})
    return made


def cosine(a: str, b: str) -> float:
    return float(np.cos(ANGLES[IDS.index(a)] - ANGLES[IDS.index(b)]))


def test_the_first_questions_are_those_in_the_middle(store: Store):
    pairs = [(a, b) for n, a in enumerate(IDS) for b in IDS[n + 1 :]]
    middle = np.median([cosine(a, b) for a, b in pairs])
    first = min(pairs, key=lambda pair: abs(cosine(*pair) - middle))
    found = questions(store, count=3, k=7)
    assert abs(found[0].score - middle) == pytest.approx(abs(cosine(*first) - middle), abs=1e-6)
    names = [name for one in found for name in (one.a, one.b)]
    assert len(names) == len(set(names)) == 6
    assert all(one.score == pytest.approx(cosine(one.a, one.b), abs=1e-6) for one in found)


def test_chances_are_those_of_logistic_regression_on_the_answers(store: Store):
    from sklearn.linear_model import LogisticRegression

    answers = [Answer("a", "b", True), Answer("d", "e", True), Answer("a", "c", False), Answer("d", "f", False)]
    found = questions(store, answers, count=10, k=7)
    pairs = [(a, b) for n, a in enumerate(IDS) for b in IDS[n + 1 :]]
    cosines = np.array([cosine(*pair) for pair in pairs])
    x = (np.array([cosine(one.a, one.b) for one in answers]) - np.median(cosines)) / cosines.std()
    model = LogisticRegression().fit(x[:, None], [one.near for one in answers])
    for one in found:
        at = (one.score - np.median(cosines)) / cosines.std()
        assert one.chance == pytest.approx(model.predict_proba([[at]])[0, 1], abs=1e-4)


def test_what_follows_from_answers_is_not_asked(store: Store):
    answers = [Answer("a", "b", True), Answer("b", "c", True), Answer("c", "d", False), Answer("d", "e", True)]
    near, far = {("a", "b"), ("a", "c"), ("b", "c"), ("d", "e")}, {(x, y) for x in "abc" for y in "de"}
    for _ in range(4):
        asked = questions(store, answers, count=20, k=7)
        assert not {(one.a, one.b) for one in asked} & (near | far)


def test_answers_are_read_and_wrong_ones_named(tmp_path: Path):
    path = tmp_path / "answers.csv"
    path.write_text("a,b,answer\nx,y,near\nx,z,No\nx,w,\n")
    assert read_answers(path) == [Answer("x", "y", True), Answer("x", "z", False)]
    path.write_text("a,b,answer\nx,y,perhaps\n")
    with pytest.raises(DataError, match=r"answers\.csv:2: the answer is 'perhaps'"):
        read_answers(path)
    path.write_text("a,b\n")
    with pytest.raises(DataError, match="no column 'answer'"):
        read_answers(path)


def test_what_cannot_be_is_said(store: Store, tmp_path: Path):
    for call, error, message in (
        (lambda: questions(store, count=0), ConfigError, "1 or more"),
        (lambda: questions(store, [Answer("a", "nobody", True)]), DataError, "has no row 'nobody'"),
        (lambda: questions(store, [Answer("a", "b", True), Answer("b", "a", False)]), DataError, "correct the answers"),
        (
            lambda: training_table(store, [Answer("a", "b", False)], tmp_path / "t.csv"),
            DataError,
            "no answer says near",
        ),
        (lambda: questions(Store.create(tmp_path / "empty", 2)), DataError, "has 0 rows"),
    ):
        with pytest.raises(error, match=message):
            call()
    plain = Store.create(tmp_path / "plain", 2)
    plain.add(["a", "b"], np.eye(2))
    with pytest.raises(DataError, match="neither a text nor a file"):
        training_table(plain, [Answer("a", "b", True)], tmp_path / "t.csv")


def test_texts_become_pairs_with_negatives_and_files_groups(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answers = [Answer("a", "b", True), Answer("c", "b", False), Answer("d", "e", True)]
    rows = list(csv.reader(training_table(store, answers, tmp_path / "t.csv").open()))
    assert rows == [["anchor", "positive", "negative"], ["words of b", "words of a", "words of c"],
                    ["words of d", "words of e", ""]]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    files = Store.create(tmp_path / "files", 2, columns={"name": "string"})
    files.add(["x.png", "y.png", "z.png"], np.ones((3, 2)), {"name": ["x.png", "y.png", "z.png"]})
    for name in ("x.png", "y.png", "z.png"):
        Path(name).touch()
    Path("deep").mkdir()
    made = training_table(files, [Answer("x.png", "y.png", True), Answer("y.png", "z.png", False)], Path("deep/t.csv"))
    rows = list(csv.reader(made.open()))
    assert [row[0] for row in rows] == ["path", "../x.png", "../y.png", "../z.png"]
    assert rows[1][1] == rows[2][1] != rows[3][1]


def test_the_loop_runs_in_a_file_and_on_a_terminal(
    store: Store, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
):
    table = tmp_path / "answers.csv"
    said = command("ask", store.path, "--answers", table, "--count", 3, "--report", tmp_path / "p.html")
    assert said.code == 0 and "3 questions: write near or far" in said.out
    assert (tmp_path / "p.html").read_text().count('class="group"') == 3
    table.write_text(table.read_text().replace(",\n", ",near\n", 1))
    words = iter(["y", "n", "q"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(words))
    said = command("ask", store.path, "--answers", table, "--count", 3)
    assert said.code == 0 and "3 answers" in said.out and [one.near for one in read_answers(table)][1:] == [True, False]
    said = command("ask", store.path, "--answers", table, "--out", tmp_path / "t.csv")
    assert said.code == 0 and (tmp_path / "t.csv").read_text().startswith("anchor,positive")


def rows_in_kinds(tmp_path: Path) -> Store:
    """Thirty rows of three kinds, each around an angle of its own, and one row without a label."""
    made = Store.create(tmp_path / "kinds", 2, columns={"label": "string"})
    angles = np.repeat([0.0, 2.0, 4.0], 10) + np.tile(np.linspace(-0.3, 0.3, 10), 3)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    made.add([f"r{row}" for row in range(30)], vectors, {"label": [*(str(row // 10) for row in range(29)), None]})
    return made


def test_labels_answer_where_both_rows_have_one(tmp_path: Path):
    oracle = by_column(rows_in_kinds(tmp_path), "label")
    asked = [oracle(Question(a, b, 0.0, 0.5)) for a, b in (("r0", "r9"), ("r0", "r10"), ("r20", "r29"))]
    assert asked == [True, False, None]
    with pytest.raises(ConfigError, match="no column 'kind'"):
        by_column(Store.open(tmp_path / "kinds"), "kind")


def test_groups_grow_by_one_question_for_a_row_and_find_all_kinds(tmp_path: Path):
    kinds = rows_in_kinds(tmp_path)
    known = ask_all(kinds, tmp_path / "a.csv", by_column(kinds, "label"), count=1, way="grow", rounds=100)
    place = {f"r{row}": row for row in range(30)}
    groups, _ = closure(30, [(place[one.a], place[one.b], one.near) for one in known])
    want = np.arange(30) // 10
    assert all((groups[i] == groups[j]) == (want[i] == want[j]) for i in range(29) for j in range(29))
    # 26 near answers join 29 rows to three groups; three far ones hold these apart, few more were needed to find them.
    assert sum(one.near for one in known) == 26 and len(known) <= 26 + 8


def test_random_pairs_are_of_any_rows_and_neither_repeated_nor_known(tmp_path: Path):
    kinds = rows_in_kinds(tmp_path)
    known = ask_all(kinds, tmp_path / "a.csv", by_column(kinds, "label"), count=40, way="random", rounds=2)
    pairs = [frozenset((one.a, one.b)) for one in known]
    assert len(set(pairs)) == len(pairs) > 60 and all(len(pair) == 2 for pair in pairs)
    assert 0.15 < np.mean([one.near for one in known]) < 0.5  # 9 of 29 by chance
    with pytest.raises(ConfigError, match="chosen by unsure, grow, random, not by 'luck'"):
        questions(kinds, way="luck")  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["unsure", "grow", "random"])
def test_an_interruption_loses_no_answer_and_asking_goes_on_where_it_was(tmp_path: Path, way: str):
    kinds = rows_in_kinds(tmp_path)
    oracle, count = by_column(kinds, "label"), 0

    def tired(question: Question) -> bool | None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return oracle(question)

    how = {"count": 1, "rounds": 8, "way": way, "where": "label IS NOT NULL"}
    with pytest.raises(KeyboardInterrupt):
        ask_all(kinds, tmp_path / "a.csv", tired, **how)
    half = read_answers(tmp_path / "a.csv")
    assert len(half) == 3
    ask_all(kinds, tmp_path / "a.csv", oracle, **{**how, "rounds": 5})
    assert read_answers(tmp_path / "a.csv") == ask_all(kinds, tmp_path / "b.csv", oracle, **how)


def test_the_command_lets_labels_answer_and_keeps_what_was_said_before_control_c(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
):
    kinds, table = rows_in_kinds(tmp_path), tmp_path / "a.csv"
    said = command("ask", kinds.path, "--answers", table, "--by", "grow", "--oracle", "label", "--rounds", 3)
    assert said.code == 0 and f"answers, {len(read_answers(table))} of them new" in said.out

    def stopped(*_: object, **__: object) -> str:
        if len(read_answers(table)) > 1:
            raise typer.Abort
        return "n"

    table = tmp_path / "b.csv"
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", stopped)
    said = command("ask", kinds.path, "--answers", table, "--by", "random")
    assert said.code == 1 and "2 answers, 2 of them new" in said.out and len(read_answers(table)) == 2
