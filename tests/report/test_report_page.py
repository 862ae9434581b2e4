from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_samples import CLASSES, SECTIONS, full, history, images, result

from nearfar.errors import DataError
from nearfar.report import Neighbours, ReportData, render, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}
EVIL = '<script>alert("x")</script>\'&"><img src=x onerror=alert(1)>'


class Outline(HTMLParser):
    """Reads a page strictly: every element closed in order; collects elements, ids and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"attribute given twice on <{tag}>"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def sections(self) -> list[str | None]:
        return [attrs["id"] for tag, attrs in self.elements if tag == "section"]

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_a_full_page_has_every_section_and_asks_for_nothing_outside() -> None:
    page = render(full())
    outline = Outline(page)
    assert outline.sections() == SECTIONS
    links = [attrs["href"] for tag, attrs in outline.elements if tag == "a"]
    assert {f"#{name}" for name in SECTIONS} == set(links)
    for tag, attrs in outline.elements:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            assert (attrs.get(name) or "#").startswith(("data:image/", "#")), (tag, attrs)
    assert "@import" not in page and not re.search(r"url\((?!\$\{sheet\.src\}\))", page)
    assert re.findall(r"https?://[^\"]*", page) == ["http://www.w3.org/2000/svg"] * 2  # a namespace, not an address


def test_every_picture_has_a_text() -> None:
    for tag, attrs in Outline(render(full())).elements:
        if tag == "img":
            assert attrs["alt"]
        if tag == "svg":
            assert attrs["role"] == "img" and attrs["aria-label"]


def test_the_policy_admits_only_the_script_of_the_page() -> None:
    page = render(full())
    body = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    assert len(body) == 1
    digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page


@pytest.mark.parametrize(
    ("gone", "changes"),
    [
        ("results", {"evaluation": {}}),
        ("map", {"embeddings": None, "labels": None, "thumbnails": None, "names": None}),
        ("neighbours", {"neighbours": None}),
        ("confusion", {"confusion": None}),
        ("scores", {"history": [{k: v for k, v in row.items() if "hist" not in k} for row in history()]}),
        ("run", {"command": "", "config": {}, "source": {}, "timings": {}}),
    ],
)
def test_a_missing_part_leaves_no_section_and_no_link(gone: str, changes: dict[str, Any]) -> None:
    page = render(full(**changes))
    assert Outline(page).sections() == [name for name in SECTIONS if name != gone]
    assert f'href="#{gone}"' not in page


def test_a_title_alone_is_a_page() -> None:
    outline = Outline(render(ReportData(title="Nothing yet")))
    assert outline.sections() == []
    assert "Nothing yet" in outline.words()


@pytest.mark.parametrize("rows", [0, 1, 2, 1000])
def test_histories_of_any_length(rows: int) -> None:
    outline = Outline(render(full(history=history(rows))))
    assert ("curves" in outline.sections()) == (rows > 0)
    if rows == 1:
        assert any(tag == "circle" and "dot" in (attrs.get("class") or "") for tag, attrs in outline.elements)


def test_numbers_that_are_not_finite_are_named_and_leave_gaps() -> None:
    rows = history(10)
    rows[3]["loss"] = float("nan")
    rows[4]["grad_norm"] = None
    rows[5]["loss"] = float("inf")
    page = render(full(history=rows))
    words = Outline(page).words()
    assert "Not finite: grad_norm, loss at step 30, 40, 50 (3 rows)." in words
    assert len(re.findall(r'<polyline class="curve main" data-name="loss"', page)) == 3  # 0-20, 40, 60-90
    assert not re.search(r"[ ,\"](nan|inf)[ ,\"]", page)


def test_headline_shows_value_interval_and_baselines() -> None:
    words = Outline(render(full())).words()
    low, high = (result(0.91)[key] for key in ("low", "high"))
    assert f"kNN 0.910 {low:.3f} to {high:.3f} (95%, n = 400) untrained encoder: 0.600 raw pixels: 0.900" in words
    assert "Against untrained encoder, nearfar is higher on 2 of 2 measurements; the intervals are apart on 2." in words
    assert "Against raw pixels, nearfar is higher on 1 of 1 measurement; the intervals are apart on 0." in words


def test_without_results_the_headline_is_the_end_of_training() -> None:
    words = Outline(render(full(evaluation={}))).words()
    assert "Loss at the end 2 chance: 4" in words
    assert "Effective rank 14" in words


def test_results_may_lack_intervals_counts_and_values() -> None:
    metrics = {
        "a": {"value": 0.5},
        "b": {"value": float("nan"), "low": None, "high": None},
        "c": {"value": -3.0, "n": 7},
    }
    words = Outline(render(full(evaluation={"nearfar": metrics}))).words()
    assert "not finite" in words and "−3.00" in words


def test_the_dot_stands_where_its_scale_says() -> None:
    page = render(ReportData(title="x", evaluation={"m": {"rank": {"value": 30.0, "low": 20.0, "high": 40.0, "n": 5}}}))
    marks = {float(text): float(at) for at, text in re.findall(r'<span style="left:([\d.]+)%">([\d.]+)</span>', page)}
    slope = (marks[30.0] - marks[20.0]) / 10
    dot = float(re.search(r'<em style="left:([\d.]+)%"', page)[1])  # type: ignore[index]
    left, width = map(float, re.search(r'<b style="left:([\d.]+)%;width:([\d.]+)%"', page).groups())  # type: ignore[union-attr]
    assert dot == pytest.approx(marks[30.0], abs=0.1)
    assert left == pytest.approx(marks[20.0], abs=0.1)
    assert width == pytest.approx(20 * slope, abs=0.2)


def test_confusion_is_in_percent_of_rows_with_counts_in_titles() -> None:
    page = render(full())
    assert re.search(r'title="shirt taken for bag: 10 of 100">10<', page)
    assert re.search(r'title="bag taken for boot: 50 of 100">50<', page)
    assert re.search(r'title="boot taken for boot: 0 of 0">·<', page)
    assert "takes bag for boot (50% of that class)" in page


@pytest.mark.parametrize("count", [1, 100])
def test_any_number_of_classes(count: int) -> None:
    names = [f"kind {index}" for index in range(count)]
    labels = np.arange(200) % count
    random = np.random.default_rng(0)
    page = render(
        full(
            classes=names,
            confusion=random.integers(0, 9, (count, count)),
            labels=labels,
            embeddings=random.normal(size=(200, 4)),
            thumbnails=None,
            names=None,
        )
    )
    outline = Outline(page)
    assert outline.sections() == SECTIONS
    legend = page[page.index('<div class="legend">') :]
    assert legend.count("<li data-k=") == count
    assert ("Colours repeat" in legend) == (count > 20)
    assert ('class="heatmap"' in page) == (count == 100)


def test_text_of_users_is_never_markup() -> None:
    names = [EVIL, "Größe 衣服 👕", "ok"]
    data = full(
        title=EVIL,
        verdict=EVIL,
        version=EVIL,
        command=EVIL,
        config={EVIL: {EVIL: EVIL}},
        classes=names,
        names=[EVIL] * 60,
        timings={EVIL: 1.0},
        source={"kind": EVIL, "items": 3, "classes": names, "skipped": [(EVIL, EVIL)], "duplicates": [(EVIL, EVIL)]},
        history=[{**row, EVIL: 1.0} for row in history()],
        evaluation={EVIL: {EVIL: {"value": 0.5, "n": 3, "settings": {EVIL: EVIL}}}, "b": {EVIL: {"value": 0.4}}},
    )
    outline = Outline(render(data))
    plain = Outline(render(full()))
    assert outline.sections() == SECTIONS
    assert {tag for tag, _ in outline.elements} == {tag for tag, _ in plain.elements}
    assert sum(tag == "script" for tag, _ in outline.elements) == 2
    assert not any(name.startswith("on") for _, attrs in outline.elements for name in attrs)
    assert EVIL in " ".join(outline.text)
    assert "Größe 衣服 👕" in outline.words()


def test_names_that_are_no_unicode_do_not_stop_the_page(tmp_path: Path) -> None:
    odd = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    path = write_report(tmp_path / "r.html", full(names=[odd] * 60, source={"skipped": [(odd, "unreadable")]}))
    assert "caf?.png" in path.read_text("utf-8")


def test_skipped_items_are_counted_and_listed() -> None:
    @dataclasses.dataclass
    class Skipped:
        name: str
        reason: str

    forms: list[Any] = [[{"name": "a.png", "reason": "cut"}], [("a.png", "cut")], [Skipped("a.png", "cut")]]
    for skipped in forms:
        words = Outline(render(ReportData(title="x", source={"skipped": skipped}))).words()
        assert "1 item could not be read and was skipped." in words
        assert "a.png cut" in words
    assert "7 items could not be read" in render(ReportData(title="x", source={"skipped": 7}))


def test_pieces_that_do_not_fit_are_refused() -> None:
    grid = Neighbours(images(2), [images(3), images(3)], [0, 1], [[0, 1, 0], [1, 1]])
    for change, message in (
        ({"labels": [0, 1]}, "labels has 2 rows and embeddings have 60"),
        ({"embeddings": np.zeros(4)}, "must be \\(M, D\\)"),
        ({"confusion": [[1, 2]]}, "must be square"),
        ({"confusion": [[1]]}, "1 rows and there are 3 class names"),
        ({"neighbours": grid}, "neighbour_labels\\[1\\] has 2 entries for 3"),
        ({"neighbours": Neighbours(images(2), [images(1)])}, "1 rows for 2 queries"),
        ({"neighbours": Neighbours([np.zeros((2, 2))], [[]])}, "uint8"),
        ({"projection": "tsne"}, "projection is 'tsne'"),
    ):
        with pytest.raises(DataError, match=message):
            render(full(**change))


def test_the_page_is_written_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    assert write_report(path, full()) == path
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]
    assert path.read_text("utf-8") == render(full())


def test_map_data_leads_from_points_to_items() -> None:
    data = full()
    page = render(data)
    block = re.search(r'<script type="application/json" id="map-data">(.*?)</script>', page)
    assert block
    facts = json.loads(block[1])
    assert sorted(facts["order"]) == list(range(60))
    drawn = [(int(k), d.count("M")) for k, d in re.findall(r'data-k="(-?\d+)" d="([^"]*)"', page)]
    labels = np.repeat([k for k, _ in drawn], [n for _, n in drawn])
    # The n-th point drawn is row order[n] of the sample, whose name says which item it is.
    items = [int(facts["names"][row].split()[1]) for row in facts["order"]]
    assert data.labels is not None
    assert np.asarray(data.labels)[items].tolist() == labels.tolist()
    assert facts["classes"] == {str(k): name for k, name in enumerate(CLASSES)}


def test_importing_the_report_imports_no_plotting() -> None:
    import subprocess

    code = (
        "import sys, nearfar.report; print([m for m in ('PIL', 'pacmap', 'numba', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
