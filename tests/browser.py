"""Headless Chromium, driven by its devtools protocol over a pipe: no port, no package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_ALWAYS = ("--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars")
_QUIET = tuple(
    f"--disable-{name}" for name in ("quic", "background-networking", "component-update", "sync", "dev-shm-usage")
)
_DRAWING = (
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--window-size=1500,950",
)


def chromium(folder: Path, page: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What the browser says of a page of a folder that is opened once, with a profile in that folder."""
    assert CHROMIUM is not None
    own = [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--enable-logging=stderr", "--v=0"]
    command = [CHROMIUM, *_ALWAYS, *_QUIET, "--disable-gpu", *own, *options, (folder / page).as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


class Browser:
    """One page of a browser with a profile of its own; with `drawing` it has WebGL."""

    def __init__(self, profile: Path, drawing: bool = False) -> None:
        assert CHROMIUM is not None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads from descriptor 3 and writes to descriptor 4.
        place = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"'
        options = [*_ALWAYS, *_QUIET, "--remote-debugging-pipe", *(_DRAWING if drawing else ("--disable-gpu",)),
                   f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "-c", place, "bash", CHROMIUM, *options],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._rest = 0, b""
        self.told: list[str] = []  # what went wrong in the page
        self.asked: list[str] = []  # addresses that it asked for
        self._session = ""
        target = next(one for one in self._call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._out)
        os.close(self._in)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                found: dict[str, Any] = answer["result"]
                return found

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._in, 1 << 16)
            assert part, "Chromium has ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        held = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.told.append(json.dumps(held["exceptionDetails"])[:500])
        if message.get("method") == "Log.entryAdded" and held["entry"]["level"] == "error":
            self.told.append(held["entry"]["text"])
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(held["request"]["url"])
        return message

    def run(self, script: str) -> Any:
        """The value of a script in the page; a promise is waited for."""
        found = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Until a condition holds in the page."""
        end = time.monotonic() + seconds
        while not self.run(f"!!({condition})"):
            assert time.monotonic() < end, f"{condition} did not become true; the page says: {self.text()}"
            time.sleep(0.05)

    def text(self) -> str:
        """What the page says."""
        return str(self.run("document.body.innerText"))

    def open(self, address: str, ready: str = "document.body?.dataset.ready") -> None:
        """Go to a page, and wait until it is ready."""
        self._call("Page.navigate", url=address)
        self.wait(f"location.href !== 'about:blank' && document.readyState === 'complete' && {ready}")

    def look(self, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Choose the size of the window, and light or dark."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                   deviceScaleFactor=2 if phone else 1, mobile=phone)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self._call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release a key."""
        codes = {"Enter": 13, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27, "/": 191}
        more = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key],
                       **(more if kind == "keyDown" else {}))  # fmt: skip

    def click(self, selector: str) -> None:
        """Click on the middle of a part of the page, as a pointer does."""
        part = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{part}.scrollIntoView({{block: 'center'}})")
        x, y = self.run(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({part}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, selector: str, file: Path) -> None:
        """Give a file to an input."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def picture(self, path: Path) -> None:
        """Save what is seen."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))
