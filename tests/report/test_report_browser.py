"""The page in a real browser: nothing goes wrong, nothing is fetched, nothing is blank, at desk and phone width."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_samples import SECTIONS, full

from browser import CHROMIUM, chromium
from nearfar.report import write_report
from nearfar.report.plots import WIDTH

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"),
]

# Looks into the report from outside, so that nothing is added to the page itself.
PROBE = """<!DOCTYPE html><body style="margin:0">
<iframe src="report.html" style="width:WIDTHpx;height:900px;border:0"></iframe>
<pre id="found"></pre><script>
const frame = document.querySelector("iframe");
frame.onload = () => setTimeout(() => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const all = (selector) => [...page.querySelectorAll(selector)];
  const box = (part) => { const r = part.getBoundingClientRect(); return [r.width, r.height]; };
  const point = (part, x, y) => part.dispatchEvent(new view.PointerEvent("pointermove",
    { clientX: part.getBoundingClientRect().left + x, clientY: part.getBoundingClientRect().top + y, bubbles: true }));
  const found = {
    overflow: page.documentElement.scrollWidth - view.innerWidth,
    sections: Object.fromEntries(all("section").map((part) => [part.id, box(part)])),
    images: all("img:not([hidden])").map((part) => [part.complete, part.naturalWidth, ...box(part)]),
    drawings: all("svg").map((part) => [part.getBBox().width, part.getBBox().height, ...box(part)]),
    ends: all("text.end").map((part) => part.getBBox().x + part.getBBox().width),
    requests: view.performance.getEntriesByType("resource").map((entry) => entry.name)
      .filter((name) => !name.startsWith("data:")),
  };
  const chart = page.querySelector("#curves svg"), now = chart.closest("figure").querySelector(".now");
  const before = now.textContent;
  point(chart, box(chart)[0] / 2, 40);
  found.readout = [before, now.textContent];
  const map = page.querySelector(".plane svg"), card = page.querySelector(".card");
  const paths = [...map.querySelectorAll("path")], path = paths[5];
  const [, x, y] = path.getAttribute("d").match(/M(\\d+) (\\d+)/).map(Number), scale = box(map)[0] / 1000;
  found.card = [card.hidden];
  point(map, x * scale, y * scale);
  found.card.push(card.hidden, card.textContent,
    view.getComputedStyle(card.querySelector("i")).backgroundImage.slice(0, 15),
    card.querySelector("i").style.backgroundPosition);
  found.facts = JSON.parse(page.getElementById("map-data").textContent);
  found.before = paths.slice(0, 5).map((part) => part.getAttribute("d").split("M").length - 1).reduce((a, b) => a + b);
  const item = page.querySelector(".legend li");
  item.dispatchEvent(new view.PointerEvent("pointerenter"));
  found.lit = all(".plane path.lit").map((part) => part.dataset.k);
  document.getElementById("found").textContent = JSON.stringify(found);
}, 300);
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_report(folder / "report.html", full())
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


def test_the_console_is_silent_and_would_tell_of_errors(folder: Path) -> None:
    assert "CONSOLE" not in chromium(folder, "report.html", "--dump-dom").stderr
    # The policy of the page forbids other scripts and the browser says so: this test would hear of errors.
    page = (folder / "report.html").read_text("utf-8").replace("</main>", "<script>1</script></main>")
    (folder / "bad.html").write_text(page, encoding="utf-8")
    assert "CONSOLE" in chromium(folder, "bad.html", "--dump-dom").stderr


def test_nothing_is_fetched_and_nothing_sticks_out(found: dict[str, Any]) -> None:
    assert found["requests"] == []
    assert found["overflow"] <= 0


def test_every_section_and_picture_has_a_size(found: dict[str, Any]) -> None:
    assert list(found["sections"]) == SECTIONS
    assert all(width > 200 and height > 80 for width, height in found["sections"].values())
    assert len(found["images"]) == 8
    assert all(
        complete and natural and width > 20 and height > 20 for complete, natural, width, height in found["images"]
    )
    assert len(found["drawings"]) > 10
    assert all(min(sizes) > 5 for sizes in found["drawings"])


def test_names_at_the_ends_of_curves_are_whole(found: dict[str, Any]) -> None:
    assert len(found["ends"]) == 6  # loss and chance, near and far, near and mined
    assert max(found["ends"]) <= WIDTH


def test_pointing_tells_values(found: dict[str, Any]) -> None:
    before, after = found["readout"]
    assert before == "2" and re.fullmatch(r"step 1\d0: loss [\d.]+, chance 4", after)
    hidden, shown, text, image, position = found["card"]
    assert hidden and not shown and image == 'url("data:image'
    # The point is the first of the sixth path: `order` says which row of the sample it is, and the sheet, 8 in a row,
    # holds the thumbnails in the order of the sample.
    cell = found["facts"]["order"][found["before"]]
    assert cell != found["before"]
    assert text == f"boot · {found['facts']['names'][cell]}"
    across, down = (float(part.rstrip("%")) for part in position.split())
    assert (across, down) == (
        pytest.approx(100 * (cell % 8) / 7, abs=0.1),
        pytest.approx(100 * (cell // 8) / 7, abs=0.1),
    )
    assert set(found["lit"]) == {"0"}


def test_embedded_pictures_are_not_blank(folder: Path) -> None:
    uris = re.findall(r'src="data:image/\w+;base64,([^"]+)"', (folder / "report.html").read_text("utf-8"))
    assert len(uris) == 9
    for uri in uris:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB")).reshape(-1, 3)
        assert len(np.unique(pixels, axis=0)) > 5


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_the_screenshot_has_ink_all_the_way_down(folder: Path, scheme: int) -> None:
    shot = folder / f"shot{scheme}.png"
    chromium(
        folder,
        "report.html",
        f"--screenshot={shot}",
        "--window-size=1200,3000",
        f"--blink-settings=preferredColorScheme={scheme}",
    )
    pixels = np.asarray(Image.open(shot).convert("L")).astype(int)
    assert (np.bincount(pixels.ravel()).argmax() < 128) == (scheme == 0)
    bands = np.array_split(pixels, 10)
    assert all(band.std() > 3 for band in bands)
