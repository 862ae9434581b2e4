"""Filters reach rows and nothing else, and what cannot be used is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_samples import Serve

from nearfar.serving.filters import checked
from nearfar.serving.refusals import Refused
from nearfar.store import Store

COLUMNS = ["id", "label", "year", "Odd name"]


@pytest.mark.parametrize(
    "where",
    ["label = 'cat'", "label IN ('it''s', 'b') AND NOT (year BETWEEN -3 AND 4.5e3)", "label LIKE 'c%' or label is null",
     "`Odd name` <> 'x' AND id != '--'", "((year >= 1))", "label = 'repeat(''a'', 9)'"],
)  # fmt: skip
def test_comparisons_pass(where: str):
    assert checked(where, COLUMNS) == where


@pytest.mark.parametrize(
    ("where", "why"),
    [("repeat('a', 2000000000) = 'a'", "no column 'repeat'"), ("label (1)", "functions cannot"),
     ("`label`('a')", "functions cannot"), ("'a' ('b')", "functions cannot"), ("vector IS NULL", "no column 'vector'"),
     ("_rowid = 1", "no column '_rowid'"), ("id IN (SELECT id FROM rows)", "no column 'SELECT'"),
     ("label = 'a'; DROP TABLE rows", "character 12"), ("label = 'a' -- x", "character 13"), ("label = 'a' /* */", ""),
     ("label = \"a\"", "character 9"), ("year::text = 'a'", "character 5"), ("year + 1 = 2", "character 6"),
     ("year / 0 = 1", "character 6"), ("label ~ 'a'", "character 7"), ("label = 'a", "character 9"),
     ("CAST(year AS text) = 'a'", "no column 'CAST'"),
     ("label = 'a') OR (year = 1", "do not match"),
     ("(" * 30 + "year = 1" + ")" * 30, "too deep"), ("year = 1" + " OR year = 1" * 70, "too many words"),
     ("x" * 1001, "at most 1000"), ("", "empty"), (" ", ""), ("label = 'a\0'", "cannot be used"),
     ("name = 'x'", "there are id, label"), ("year = 0x10", ""), ("label = 'a' AND @x = 1", "character 17")],
)  # fmt: skip
def test_all_else_is_refused(where: str, why: str):
    with pytest.raises(Refused, match=why or "cannot be used") as refused:
        checked(where, COLUMNS)
    assert refused.value.status == 400


WORDS = "label text id name 'a' '' 1 -2.5 1e400 99999999999999999999 `label` '%' '[' null true"
SIGNS = "= <> < , and or not in like between is ( )"
PIECES = [*WORDS.split(), *SIGNS.split()]


def test_any_filter_is_answered_or_refused(texts: Store, served: Serve):
    client = served(texts)
    pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map(" ".join)

    @settings(max_examples=80, deadline=None, derandomize=True)
    @given(pieces | st.text(max_size=30))
    def ask(where: str) -> None:
        answer = client.get("/rows", params={"where": where})
        assert answer.status_code in (200, 400, 422), (where, answer.text)
        if answer.status_code == 200:
            assert {one["id"] for one in answer.json()["results"]} <= {f"n{row}" for row in range(8)}

    ask()
    for where in ("(" * 20 + "label = 'a'" + ")" * 20, "not " * 99 + "label = 'a'", " or ".join(["label = 'a'"] * 50)):
        assert client.get("/rows", params={"where": where}).status_code in (200, 400)
