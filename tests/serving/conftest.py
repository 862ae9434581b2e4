"""Small stores of real pictures and of texts, and servers of them inside the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_samples import KINDS, PICTURES, TEXTS, Serve

from nearfar.data import bundled
from nearfar.data.source import ArraySource
from nearfar.modalities.text.source import TextSource
from nearfar.opening import open_run
from nearfar.run import Run
from nearfar.store import Store
from nearfar.storing import embed_into, encoder_of


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Eight texts by `ngrams`, named n0 to n7."""
    labels = np.array([sorted(set(KINDS)).index(kind) for kind in KINDS])
    source = TextSource(
        {"text": TEXTS}, names=[f"n{row}" for row in range(8)], labels=labels, classes=["animals", "sky"]
    )
    return embed_into(open_run("ngrams", source), source, tmp_path_factory.mktemp("served") / "notes.store").store


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Forty pictures by `small`, whose names are paths of this machine."""
    with np.load(bundled.path("fashion"), allow_pickle=False) as archive:
        rows, labels = archive["images"][:PICTURES].reshape(-1, 1, 28, 28), archive["labels"][:PICTURES]
        classes = [str(one) for one in archive["classes"]]
    names = [f"/home/someone/photos/{classes[label].replace('/', ' ')}/{row}.png" for row, label in enumerate(labels)]
    source = ArraySource("images", rows, names=names, labels=labels, classes=classes)
    return embed_into(open_run("small", source), source, tmp_path_factory.mktemp("served") / "clothes.store").store


@pytest.fixture(scope="session")
def encoders(texts: Store, pictures: Store) -> dict[Path, Run]:
    """What embeds the questions of each store."""
    return {store.path: encoder_of(store) for store in (texts, pictures)}


@pytest.fixture
def served(encoders: dict[Path, Run]) -> Iterator[Serve]:
    """`served(store, token="...", rate=1)` is a client of a server in this process."""
    pytest.importorskip("fastapi", reason="needs the extra serve")
    testing = pytest.importorskip("starlette.testclient", reason="needs httpx")
    from nearfar.serving import ServeSettings
    from nearfar.serving.api import make_app
    from nearfar.serving.metrics import Metrics
    from nearfar.serving.service import Service

    opened = []

    def serve(store: Store, token: str | None = None, hosts: tuple[str, ...] = ("127.0.0.1",), **limits: Any) -> Any:
        settings, metrics = ServeSettings(**{"rate": 0, **limits}), Metrics()
        service = Service(store, encoders.get(store.path), settings, metrics)
        app = make_app(service, settings, metrics, token, hosts)
        client = testing.TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        client.service = service
        opened.append(client.__enter__())
        return opened[-1]

    yield serve
    for client in opened:
        client.__exit__(None, None, None)
