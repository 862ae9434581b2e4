"""The page of a comparison: what it holds for one method and for sixteen, and how it behaves in a browser."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison_samples import NAMES, comparison, line, many

from browser import CHROMIUM, chromium
from nearfar.assess import UNTRAINED
from nearfar.report.comparison import render_comparison, write_comparison
from nearfar.report.comparison_parts import labels, spread

SECTIONS = ["summary", "results", "progress", "cost", "losses", "figures", "methods", "run"]


def page_of(made: Any) -> str:
    return render_comparison(json.loads(json.dumps(made.to_json())))  # as it is read back from compare.json


def panels(page: str) -> dict[str, list[str]]:
    """Metric -> names in the order of its panel."""
    found = re.findall(r'<figure class="dots"><figcaption><b>(.*?)</b>.*?</figure>', page, flags=re.S)
    parts = re.findall(r'<figure class="dots">.*?</figure>', page, flags=re.S)
    return {
        name: [html.unescape(each) for each in re.findall(r'<th scope="row" title="(.*?)"', part)]
        for name, part in zip(found, parts, strict=True)
    }


def test_every_figure_stands_on_the_page_and_panels_are_sorted():
    made = many(16)
    page = page_of(made)
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    found = panels(page)
    assert len(found) == len(NAMES) + 1
    names = found["kNN accuracy"]
    values = [made.line(name).found.metrics["knn_accuracy"].value for name in names]  # type: ignore[union-attr]
    assert len(names) == 17 and values == sorted(values, reverse=True), "15 methods that did not fail, two baselines"
    for one in made.lines:
        if one.found is not None:
            assert f">{one.found.metrics['map@r'].value:.3f}<" in page
    assert "the loss of step 3 is nan &lt;&amp;&gt; the rest is lost" in page and "<&>" not in page
    for text in (*made.verdicts, *made.notes):
        assert html.escape(text) in page
    assert page.count("uses labels</small>") >= 1 and 'href="runs/simclr/"' in page


def test_methods_have_looks_of_their_own():
    page = page_of(many(16))
    legend = page.split('<ul class="methods">')[1].split("</ul>")[0]
    looks = re.findall(r'class="curve ([^"]+)"', legend)
    assert len(looks) == 16 and len(set(looks)) == 16
    assert [look.split()[0] for look in looks] == [f"k{n % 10}" for n in range(16)]
    # A method looks alike in all charts.
    for number, look in enumerate(looks):
        for shape in re.findall(rf'<g data-m="{number}"[^>]*>.*?</g>', page, flags=re.S):
            assert set(re.findall(r'class="(?:curve|dot|whisker|band) ([^"]+)"', shape)) == {look}


def test_one_method_with_several_seeds():
    page = page_of(comparison([line("simclr", 0.8, 0, seeds=3)]))
    assert "1 method on clothes.npz" in page and page.count('class="band k0"') == 2
    assert "Thin marks are single seeds" in page and page.count("<s ") == 3 * (len(NAMES) + 1)
    assert "± " in page and re.findall(r'<section id="(\w+)"', page) == SECTIONS


def test_without_labels_there_is_no_quality_and_the_page_says_so():
    lines = [line(name, 0.8, number, labelled=False) for number, name in enumerate(("simclr", "swav"))]
    page = page_of(comparison(lines, labelled=False))
    assert set(panels(page)) == {"Effective rank", "Uniformity"} and "There are no labels" in page
    assert 'id="cost"' not in page and "Effective rank over steps" in page


def test_without_anything_but_failures_a_page_is_still_written():
    from nearfar.comparing import Line

    page = page_of(comparison([Line("moco", failed=["out of memory"])], baselines=False))
    assert "moco failed: out of memory" in page and 'id="results"' not in page


def test_short_names_differ():
    names = [f"simclr objective=HardNegative temperature={t} projection=512" for t in (0.1, 0.2, 0.3)]
    found = labels([*names, "moco", "x" * 90, "swav " + "y" * 90])
    assert len(set(found.values())) == 6 and found["moco"] == "moco" and max(map(len, found.values())) <= 34


def test_labels_are_moved_apart_and_stay_inside():
    random = np.random.default_rng(0)
    for _ in range(50):
        wanted = random.random(16) * 300
        placed = np.array(spread(wanted.tolist(), 0, 360, 15))
        order = np.argsort(wanted)
        assert (np.diff(placed[order]) >= 15 - 1e-9).all() and placed.max() <= 360 + 1e-9


# In a browser --------------------------------------------------------------------

PROBE = """<!DOCTYPE html><body style="margin:0">
<iframe src="compare.html" style="width:WIDTHpx;height:900px;border:0"></iframe>
<pre id="found"></pre><script>
const frame = document.querySelector("iframe");
frame.onload = () => setTimeout(() => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const all = (selector) => [...page.querySelectorAll(selector)];
  const box = (part) => { const r = part.getBoundingClientRect(); return [r.width, r.height]; };
  const fire = (part, type, x, y) => part.dispatchEvent(new view.PointerEvent(type, { clientX: x, clientY: y,
    bubbles: type === "pointermove" }));
  const found = {
    overflow: page.documentElement.scrollWidth - view.innerWidth,
    sections: Object.fromEntries(all("section").map((part) => [part.id, box(part)])),
    drawings: all("svg").map((part) => [part.getBBox().width, part.getBBox().height, ...box(part)]),
    requests: view.performance.getEntriesByType("resource").map((entry) => entry.name),
    outside: all("figure.wide text").filter((part) => {
      const text = part.getBBox(), svg = part.ownerSVGElement.viewBox.baseVal;
      return text.x < 0 || text.y < 0 || text.x + text.width > svg.width + 2 || text.y + text.height > svg.height + 2;
    }).map((part) => part.textContent),
    covered: all("figure.wide svg").map((svg) => {
      const names = [...svg.querySelectorAll(".name")].map((part) => part.getBBox());
      return names.filter((a, i) => names.some((b, j) => j < i && a.x < b.x + b.width - 1 && b.x < a.x + a.width - 1
        && a.y < b.y + b.height - 4 && b.y < a.y + a.height - 4)).length;
    }),
    colours: all(".methods:first-of-type .curve").map((part) => view.getComputedStyle(part).stroke),
    dots: all("figure.wide circle").map((part) => view.getComputedStyle(part).fill),
  };
  const item = page.querySelector(".methods li");
  fire(item, "pointerenter", 0, 0);
  found.lit = [...new Set(all(".lit").map((part) => part.dataset.m))];
  fire(item, "pointerleave", 0, 0);
  found.after = all(".lit").length;
  const dot = page.querySelector("#progress circle").getBoundingClientRect();
  const svg = page.querySelector("#progress figure svg");
  fire(svg, "pointermove", dot.left + dot.width / 2, dot.top + dot.height / 2);
  found.readout = svg.closest("figure").querySelector(".now").textContent;
  document.getElementById("found").textContent = JSON.stringify(found);
}, 300);
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    write_comparison(folder / "compare.html", many(16).to_json())
    return folder


@pytest.fixture(scope="module", params=[1200, 390], ids=["desk", "phone"])
def found(folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    (folder / "probe.html").write_text(PROBE.replace("WIDTH", str(request.param)))
    ran = chromium(folder, "probe.html", "--dump-dom", "--allow-file-access-from-files", "--window-size=1300,1000")
    assert "CONSOLE" not in ran.stderr, ran.stderr
    text = re.search(r'<pre id="found">(.*?)</pre>', ran.stdout, flags=re.S)
    assert text and text[1], "the page did not load in the probe: " + ran.stderr
    result: dict[str, Any] = json.loads(html.unescape(text[1]))
    return result


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
class TestInABrowser:
    def test_nothing_is_fetched_and_nothing_sticks_out(self, found: dict[str, Any]) -> None:
        assert found["requests"] == [] and found["overflow"] <= 0
        assert found["outside"] == [] and found["covered"] == [0, 0, 0, 0]

    def test_every_section_and_drawing_has_a_size(self, found: dict[str, Any]) -> None:
        assert list(found["sections"]) == SECTIONS
        assert all(width > 200 and height > 80 for width, height in found["sections"].values())
        assert all(min(sizes[2:]) > 5 for sizes in found["drawings"]) and len(found["drawings"]) > 20

    def test_methods_are_told_apart_by_colour(self, found: dict[str, Any]) -> None:
        assert len(set(found["colours"])) == 10 and "none" not in found["colours"]
        assert set(found["dots"]) <= set(found["colours"])

    def test_pointing_lights_a_method_and_tells_its_values(self, found: dict[str, Any]) -> None:
        assert found["lit"] == ["0"] and found["after"] == 0
        assert re.fullmatch(r"\S.*: 0\.6 at 0 steps", found["readout"])


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_console_is_silent(folder: Path) -> None:
    assert "CONSOLE" not in chromium(folder, "compare.html", "--dump-dom").stderr


def test_the_reference_of_the_page_is_the_one_of_the_comparison() -> None:
    from nearfar.report import comparison as page

    assert page._UNTRAINED == UNTRAINED
