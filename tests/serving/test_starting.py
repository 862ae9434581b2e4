"""How a server starts, what it says when it cannot, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from serving_samples import until

from nearfar.store import Store
from saying import Command

TOKEN = "a token that nobody guesses"


def test_what_cannot_start_says_why(texts: Store, pictures: Store, trained: Path, tmp_path: Path, command: Command,
                                    monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    monkeypatch.delenv("NEARFAR_TOKEN", raising=False)
    (tmp_path / "short").write_text("short\n")
    (tmp_path / "empty").write_text("\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, message in (
            ((tmp_path / "none",), "is not there; make a store with"),
            ((tmp_path,), "no store"),
            ((pictures.path, "--run", trained), "vectors of two models cannot be compared"),
            ((pictures.path, "--run", tmp_path), "is not a run"),
            ((texts.path, "--port", port), f"port {port} of 127.0.0.1 cannot be used: Address already in use"),
            ((texts.path, "--host", "0.0.0.0"), "so a token is needed: --token-file FILE"),
            ((texts.path, "--token-file", tmp_path / "short"), "a token has 16 characters or more"),
            ((texts.path, "--token-file", tmp_path / "empty"), "is empty; write a token into it"),
            ((texts.path, "--token-file", tmp_path / "no"), "cannot be read from"),
            ((texts.path, "--batch", 100000), "batch"),
        ):
            said = command("serve", *arguments)
            assert said.code == 2 and message in said.err and "Traceback" not in said.err, said.err


def test_a_store_whose_encoder_changed_is_not_served(trained: Path, small: Path, tmp_path: Path, command: Command):
    assert command("embed", trained, small, "--store", tmp_path / "s").code == 0
    store = Store.open(tmp_path / "s")
    moved = store.provenance.run
    assert moved == str(trained.resolve())
    other = tmp_path / "runs"
    shutil.copytree(trained, other)
    shutil.rmtree(other / "checkpoints")
    assert "has no checkpoint" in command("serve", tmp_path / "s", "--run", other).err


def test_a_missing_extra_is_named(texts: Store, command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = command("serve", texts.path, "--port", 0)
    assert said.code == 2 and "pip install 'nearfar[serve]'" in said.err


def started(store: Store, *options: str, **environment: str) -> tuple[subprocess.Popen[str], int]:
    """A server in a process of its own, and its port."""
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    process = subprocess.Popen([sys.executable, "-m", "nearfar", "serve", str(store.path), "--port", "0", *options],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, **environment})  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"8 rows of .*notes\.store at http://127\.0\.0\.1:(\d+)/", line)
    assert found, (line, process.stderr and process.stderr.read())
    return process, int(found[1])


def ask(port: int, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    content = None if body is None else json.dumps(body)
    connection.request("POST" if content else "GET", path, content, headers | {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.slow
def test_a_signal_lets_what_runs_end(texts: Store):
    process, port = started(texts, NEARFAR_TOKEN=TOKEN)
    try:
        assert ask(port, "/health") == (200, b'{"status":"ok"}')
        assert ask(port, "/info")[0] == 401
        head = {"Authorization": f"Bearer {TOKEN}"}
        assert b'"rows":8' in ask(port, "/info", **head)[1]
        words = {"texts": ["some words " * 900] * 64}  # takes a while
        answers: list[tuple[int, bytes]] = []
        thread = threading.Thread(target=lambda: answers.append(ask(port, "/embed", words, **head)))
        thread.start()
        until(lambda: b'nearfar_running{lane="all"} 1.0' in ask(port, "/metrics", **head)[1])
        process.send_signal(signal.SIGTERM)
        thread.join(60)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in said, said
        assert [status for status, _ in answers] == [200] and answers[0][1].count(b"[") == 65
    finally:
        process.kill()
    with pytest.raises(OSError):
        ask(port, "/health")
    assert TOKEN not in " ".join(process.args)  # type: ignore[arg-type]
