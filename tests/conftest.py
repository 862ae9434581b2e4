"""Shared by all tests: no network, one thread, a small real data set, one trained run and the command itself."""

from __future__ import annotations

import logging
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saying import Command, Said

ROWS, CLASSES = 200, 4


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reaches for another machine fails, whether by name or by address; this machine may talk to itself."""
    local = ("localhost", "127.0.0.1", "::1")

    def guarded(plain: Callable[..., Any]) -> Callable[..., Any]:
        def guard(self: socket.socket, *arguments: Any) -> Any:
            address = arguments[-1]
            if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in local:
                pytest.fail(f"something reaches for the network: {address}")
            return plain(self, *arguments)

        return guard

    def looked_up(host: Any, *arguments: Any, **named: Any) -> Any:
        if host is not None and host not in local:
            pytest.fail(f"something looks up a name in the network: {host}")
        return lookup(host, *arguments, **named)

    lookup = socket.getaddrinfo
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)


@pytest.fixture(autouse=True, scope="session")
def one_thread_in_all() -> None:
    """Tiny matrices gain nothing from threads, and bits are compared."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 200 real pictures in four classes, of which ten stand in it twice."""
    from nearfar.data import bundled

    with np.load(bundled.path("fashion"), allow_pickle=False) as archive:
        rows = np.concatenate([np.flatnonzero(archive["labels"] == c)[: ROWS // CLASSES] for c in range(CLASSES)])
        rows = np.random.default_rng(0).permutation(rows)
        rows[-10:] = rows[:10]
        path = tmp_path_factory.mktemp("data") / "small.npz"
        np.savez(
            path, images=archive["images"][rows], labels=archive["labels"][rows], classes=archive["classes"][:CLASSES]
        )
    return path


@pytest.fixture(scope="session")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run on `small`; only to be looked at."""
    from nearfar.run import fit

    out = tmp_path_factory.mktemp("runs") / "trained"
    fit(small, out, steps=6, batch_size=32, log_every=2, progress=False)
    return out


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`command("fit", path, ...)` is `nearfar fit path ...` in this process; an unexpected error is a traceback."""
    from nearfar import cli

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    # Maps by PCA: compiling PaCMAP takes longer than everything else here, and the tests of the report do it.
    monkeypatch.setattr("nearfar.report.map._FEWEST_FOR_PACMAP", 10**9)
    handlers = logging.getLogger("nearfar").handlers

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["nearfar", *map(str, arguments)])
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            try:
                cli.main()
            except SystemExit as end:
                code = end.code
        said = capsys.readouterr()
        assert isinstance(code, int)
        return Said(code, said.out, said.err)

    yield run
    logging.getLogger("nearfar").handlers = handlers
