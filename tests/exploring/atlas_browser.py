"""A page in headless Chromium that waits for what it draws: by the DevTools protocol over a WebSocket."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless --no-sandbox --no-first-run --hide-scrollbars --disable-background-networking --disable-sync "
    "--disable-component-update --disable-quic --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--ignore-gpu-blocklist --window-size=1500,950 --remote-debugging-port=0 --remote-allow-origins=*"
)


class Page:
    """One page; `requests` are the addresses that it asked for, `errors` what its console said of errors."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.number = socket, 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            said = json.loads(self.socket.recv(timeout=60))
            if said.get("method") == "Network.requestWillBeSent":
                self.requests.append(said["params"]["request"]["url"])
            if said.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(said["params"]["exceptionDetails"])[:500])
            if said.get("id") == self.number:
                assert "error" not in said, said["error"]
                result: dict[str, Any] = said["result"]
                return result

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Until an expression holds."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, (
                f"{expression} does not hold; the page says {self.value('document.body.innerText')[:300]}"
            )
            time.sleep(0.3)

    def screenshot(self, path: Path) -> None:
        """Write what is seen."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def click(self, x: float, y: float) -> None:
        """Press and release at a place."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


@contextmanager
def opened(address: str, folder: Path) -> Iterator[Page]:
    """A page at some address, in a browser of its own."""
    from websockets.sync.client import connect

    assert CHROMIUM is not None
    profile = folder / "profile"
    browser = subprocess.Popen(
        [CHROMIUM, *_FLAGS.split(), f"--user-data-dir={profile}", "about:blank"], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        file = profile / "DevToolsActivePort"
        for _ in range(300):
            if file.exists() and len(file.read_text().split()) == 2:
                break
            time.sleep(0.1)
        port = file.read_text().split()[0]
        from urllib.request import urlopen

        with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            target = next(one for one in json.load(answer) if one["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=None, open_timeout=30) as socket:
            page = Page(socket)
            page.ask("Page.navigate", url=address)
            yield page
    finally:
        browser.terminate()
        browser.wait(20)
