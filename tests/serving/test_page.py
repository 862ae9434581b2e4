"""The page in a real browser: words and pictures are found, filtered, and lead on to more like them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_samples import KINDS, PICTURES, TEXTS, until

from browser import CHROMIUM, Browser
from nearfar.modalities.text.source import TextSource
from nearfar.opening import open_run
from nearfar.run import Run
from nearfar.store import Store
from nearfar.storing import embed_into, encoder_of, search

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"),
]
IDLE = "!document.querySelector('#results.busy') && document.body.dataset.ready"


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The eight texts with a list of words, and compact vectors of one bit and of 32 numbers."""
    pytest.importorskip("faiss", reason="compact vectors need faiss")
    source = TextSource({"text": TEXTS}, names=[f"n{row}" for row in range(8)])
    store = embed_into(open_run("ngrams", source), source, tmp_path_factory.mktemp("listed") / "all.store").store
    store.lexical("dog")
    for kind in ("binary", "32"):
        store.compact_vectors(kind)
    return Store.open(store.path)


@pytest.fixture(scope="module")
def addresses(texts: Store, pictures: Store, listed: Store, encoders: dict[Path, Run]) -> Iterator[dict[str, str]]:
    """Servers of the stores, on ports of their own; the last one is the list of words alone, without an encoder."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")
    from nearfar.serving import ServeSettings
    from nearfar.serving.api import make_app
    from nearfar.serving.metrics import Metrics
    from nearfar.serving.server import listening
    from nearfar.serving.service import Service

    found, ends = {}, []
    runs = {"texts": (texts, encoders[texts.path]), "pictures": (pictures, encoders[pictures.path])}
    runs |= {"listed": (listed, encoder_of(listed)), "words alone": (listed, None)}
    for name, (store, run) in runs.items():
        settings, metrics, at = ServeSettings(rate=0), Metrics(), listening("127.0.0.1", 0)
        app = make_app(Service(store, run, settings, metrics), settings, metrics, None, ["127.0.0.1"])
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]})
        thread.start()
        until(lambda server=server: server.started)
        found[name] = f"http://127.0.0.1:{at.getsockname()[1]}/"
        ends.append((server, thread))
    yield found
    for server, thread in ends:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(autouse=True)
def quiet(browser: Browser) -> Iterator[None]:
    """Nothing goes wrong in the page, nothing is fetched from elsewhere, and nothing sticks out."""
    browser.told.clear()
    browser.asked.clear()
    yield
    assert browser.told == []
    assert all(one.startswith(("http://127.0.0.1:", "data:", "blob:")) for one in browser.asked)
    assert browser.run("document.documentElement.scrollWidth - innerWidth") <= 0


def seen(browser: Browser, selector: str) -> list[str]:
    """The texts of parts of the page."""
    parts = f"[...document.querySelectorAll({json.dumps(selector)})].map((part) => part.textContent)"
    return [str(one) for one in browser.run(parts)]


def settle(browser: Browser, act: Callable[[], Any]) -> None:
    """Do something that searches again, and wait for its results."""
    browser.run("said.textContent = 'old'")
    act()
    browser.wait(f"said.textContent !== 'old' && {IDLE}")


def test_typing_words_filtering_and_more_like_this(browser: Browser, addresses: dict[str, str],
                                                   encoders: dict[Path, Run], texts: Store):  # fmt: skip
    run = encoders[texts.path]
    vectors = run.embed(TextSource({"text": TEXTS})).vectors
    query = run.embed(TextSource({"query": ["the dog barks"]})).vectors[0]

    def order(by: np.ndarray) -> list[int]:
        return np.argsort(-(vectors @ by) / np.linalg.norm(vectors, axis=1), kind="stable").tolist()

    browser.look(1200, 900)
    browser.open(addresses["texts"])
    assert sorted(seen(browser, "#results .words")) == sorted(TEXTS)
    browser.click("#words")
    browser.type("the dog barks")
    settle(browser, lambda: browser.press("Enter"))
    assert seen(browser, "#results .words") == [TEXTS[row] for row in order(query)]
    assert browser.run("location.search") == "?q=the+dog+barks"
    settle(browser, lambda: browser.click("#results .label"))
    kind = KINDS[order(query)[0]]
    narrowed = [TEXTS[row] for row in order(query) if KINDS[row] == kind]
    assert seen(browser, "#results .words") == narrowed and browser.run("label.value") == kind
    browser.click("#where")
    browser.type("text LIKE '%a%' AND NOT (id = 'n0')")
    settle(browser, lambda: browser.press("Enter"))
    assert seen(browser, "#results .words") == [one for one in narrowed if "a" in one and one != TEXTS[0]]
    link = browser.run("location.href")
    before = seen(browser, "#results .words")
    settle(browser, lambda: browser.click("#results li:nth-child(2) .again"))
    chosen = TEXTS.index(before[1])
    others = [row for row in order(vectors[chosen]) if row not in (0, chosen)]
    rows = [row for row in others if KINDS[row] == kind and "a" in TEXTS[row]]
    assert seen(browser, "#results .words") == [TEXTS[row] for row in rows]
    assert before[1] in seen(browser, "#like")[0]
    settle(browser, lambda: browser.run("history.back()"))
    assert seen(browser, "#results .words") == before
    browser.open(link)
    assert seen(browser, "#results .words") == before  # a link gives the same search


def test_the_keyboard_alone(browser: Browser, addresses: dict[str, str]):
    browser.look(1200, 900)
    browser.open(addresses["texts"] + "?q=stars")
    browser.run("document.activeElement.blur()")
    browser.press("/")
    assert browser.run("document.activeElement.id") == "words"
    browser.press("ArrowDown")
    browser.press("ArrowRight")
    second = seen(browser, "#results .words")[1]
    assert browser.run("document.activeElement.textContent") == second
    settle(browser, lambda: browser.press("Enter"))
    assert second in seen(browser, "#like")[0] and second not in seen(browser, "#results .words")
    browser.run("document.querySelector('.more').focus()")
    browser.press("Escape")
    assert browser.run("document.activeElement.id") == "words"


def test_a_picture_of_ones_own(browser: Browser, addresses: dict[str, str], pictures: Store, tmp_path: Path):
    file = tmp_path / "mine.png"
    file.write_bytes(pictures.column("thumbnail")[3].as_py())
    browser.look(390, 800, dark=True, phone=True)
    browser.open(addresses["pictures"])
    assert len(seen(browser, "#results li")) == 24
    settle(browser, lambda: browser.choose("#file", file))
    first = seen(browser, "#results li:first-child")[0]
    assert "1.000" in first and "3.png" in first
    assert browser.run("document.querySelector('#asked').naturalWidth") == 28
    assert all(browser.run("[...document.querySelectorAll('#results img')].map((one) => one.naturalWidth === 28)"))
    settle(browser, lambda: browser.click("#results .more"))
    assert "3.png" in seen(browser, "#like")[0] and browser.run("document.querySelector('#asked').hidden")
    labels = pictures.column("label").to_pylist()
    browser.run("label.value = 'Dress'; label.dispatchEvent(new Event('change'))")
    browser.wait(
        f"document.querySelectorAll('#results li').length === {labels.count('Dress') - (labels[3] == 'Dress')}"
    )
    assert set(seen(browser, "#results .label")) == {"Dress"} and len(labels) == PICTURES


def test_what_cannot_be_used_is_said(browser: Browser, addresses: dict[str, str]):
    browser.look(1200, 900)
    browser.open(addresses["texts"] + "?q=stars&where=colour%20%3D%201")
    assert "there is no column 'colour'" in seen(browser, "#said.bad")[0] and seen(browser, "#results li") == []
    assert any("400" in one for one in browser.told)
    browser.told.clear()
    browser.open(addresses["texts"] + "?q=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&where=label%20%3D%20'sky'")
    assert len(seen(browser, "#results li")) == 3 and seen(browser, "main img[src=x]") == []


def pick(browser: Browser, name: str, value: str) -> None:
    """Choose in a list, and wait for what is found."""
    change = f"{name}.value = {json.dumps(value)}; {name}.dispatchEvent(new Event('change'))"
    settle(browser, lambda: browser.run(change))


def test_words_and_compact_vectors_are_chosen(browser: Browser, addresses: dict[str, str], listed: Store):
    browser.look(1200, 900)
    browser.open(addresses["listed"] + "?q=the+dog+barks+at+night")
    assert seen(browser, "#by option") == ["meaning", "words", "meaning and words"]
    assert seen(browser, "#compact option") == ["full vectors", "32 numbers", "binary vectors"]
    how: dict[str, Any]
    for by, compact, how in (
        ("lexical:text", "", {"words": "lexical"}),
        ("hybrid:text", "", {"words": "hybrid"}),
        ("hybrid:text", "binary", {"words": "hybrid", "compact": "binary"}),
        ("", "32", {"compact": "32"}),
        ("", "", {}),
    ):
        if browser.run("by.value") != by:
            pick(browser, "by", by)
        if browser.run("compact.value") != compact:
            pick(browser, "compact", compact)
        wanted = search(listed, "the dog barks at night", k=24, **how)
        assert seen(browser, "#results .words") == [hit.columns["text"] for hit in wanted], how
        first = browser.run("getComputedStyle(document.querySelector('.score i')).getPropertyValue('--s')")
        assert float(first) == pytest.approx(1.0 if by else wanted[0].score, abs=1e-5)
        asked = {key: value for key, value in (("by", by), ("compact", compact)) if value}
        address = browser.run("Object.fromEntries(new URLSearchParams(location.search))")
        assert address == {"q": "the dog barks at night", **asked}
    browser.open(addresses["listed"] + "?q=the+dog+barks&by=lexical%3Atext")  # a link gives the same search
    wanted = search(listed, "the dog barks", k=24, words="lexical")
    assert seen(browser, "#results .words") == [hit.columns["text"] for hit in wanted]
    assert "best first" in seen(browser, "#said")[0] and browser.run("by.value") == "lexical:text"
    assert browser.run("compact.disabled") and not browser.run("by.disabled")
    settle(browser, lambda: browser.click("#results .again"))  # more like one is by vectors, whatever is chosen
    assert browser.run("by.disabled") and "nearest first" in seen(browser, "#said")[0]
    browser.open(addresses["listed"] + "?q=zebra&by=lexical%3Atext")
    assert "No row has any of these words" in seen(browser, "#said")[0]


def test_without_an_encoder_there_are_words_alone(browser: Browser, addresses: dict[str, str]):
    browser.look(390, 800, phone=True)
    browser.open(addresses["words alone"] + "?q=dog")
    assert seen(browser, "#by option") == ["words"] and browser.run("document.querySelector('#ways').hidden")
    assert seen(browser, "#results .words") == ["a dog barks at the postman"]


def test_a_store_without_lists_offers_no_choice(browser: Browser, addresses: dict[str, str]):
    browser.look(1200, 900)
    browser.open(addresses["texts"] + "?q=dog")
    assert browser.run("['ways', 'sizes'].every((name) => document.getElementById(name).hidden)")
