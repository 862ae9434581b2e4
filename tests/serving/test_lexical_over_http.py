"""Searches by words and by compact vectors over HTTP, and vectors of what is sought."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_samples import KINDS, TEXTS, Serve

from nearfar.modalities.text.source import TextSource
from nearfar.opening import open_run
from nearfar.run import Run
from nearfar.store import Store
from nearfar.storing import embed_into, encoder_of, search

ASKED = "the dog barks at night"


@pytest.fixture
def ready(encoders: dict[Path, Run], tmp_path: Path) -> Iterator[Store]:
    """The eight texts with prompts, a list of words, and compact vectors of one bit."""
    labels = np.array([sorted(set(KINDS)).index(kind) for kind in KINDS])
    names = [f"n{row}" for row in range(8)]
    source = TextSource({"text": TEXTS}, names=names, labels=labels, classes=["animals", "sky"])
    run = open_run("ngrams", source, query_prompt="ask: ", document_prompt="say: ")
    store = embed_into(run, source, tmp_path / "ready.store").store
    store.lexical("dog")
    pytest.importorskip("faiss", reason="compact vectors need faiss")
    store.compact_vectors("binary")
    store = Store.open(store.path)
    encoders[store.path] = encoder_of(store)
    yield store
    del encoders[store.path]


def ask(client: Any, **body: Any) -> list[tuple[str, float]]:
    answer = client.post("/search", json={"text": ASKED, "k": 4, **body})
    assert answer.status_code == 200, answer.text
    return [(one["id"], one["score"]) for one in answer.json()["results"]]


def test_words_are_looked_for_as_the_command_does(ready: Store, served: Serve):
    client = served(ready)
    seen = client.get("/info").json()
    assert seen["words"] == ["text"] and seen["compact"] == ["binary"]
    ways: list[dict[str, Any]] = [{"words": "lexical"}, {"words": "hybrid"}, {"compact": "binary"}]
    for how in [*ways, {"words": "hybrid", "compact": "binary"}]:
        wanted = search(ready, ASKED, k=4, **how)
        assert ask(client, **how) == [(hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in wanted]
    found = [name for name, _ in ask(client, words="lexical", k=8)]
    assert found[0] == "n1" and set(found) == {f"n{row}" for row in range(8)} - {"n5"}  # which shares no word
    assert ask(client, words="lexical", where="label = 'sky'")[0][0] == "n2"
    like = client.get("/neighbours", params={"id": "n1", "k": 3, "compact": "binary"}).json()["results"]
    assert [one["id"] for one in like] == [hit.id for hit in search(ready, like="n1", k=3)]


def test_what_the_store_has_not_is_refused_and_not_made(texts: Store, served: Serve):
    client, version = served(texts), texts.version
    for body, status, says in (
        ({"words": "lexical"}, 400, "no column 'text' whose words are listed; there are none"),
        ({"words": "hybrid", "column": "none"}, 400, "no column 'none'"),
        ({"compact": "int8"}, 400, "no compact vectors 'int8'; there are none"),
        ({"compact": "binary", "approximate": True}, 400, "no index"),
        ({"compact": "../x"}, 422, "compact"),
        ({"words": "lexical", "text": None, "id": "n1"}, 422, "looks for a text"),
    ):
        answer = client.post("/search", json={"text": ASKED, **body})
        assert answer.status_code == status and says in answer.json()["error"], answer.text
    assert Store.open(texts.path).version == version and not (texts.path / "beside").exists()


def test_what_is_sought_has_a_prompt_of_its_own(ready: Store, encoders: dict[Path, Run], served: Serve):
    client = served(ready)
    asked, sought = (
        client.post("/embed", json={"texts": [ASKED, "x"], "side": side}).json()["vectors"]
        for side in ("query", "document")
    )
    plain = open_run("ngrams", TextSource({"text": TEXTS}))
    for found, prompt in ((asked, "ask: "), (sought, "say: ")):
        wanted = plain.embed(TextSource({"text": [prompt + ASKED, prompt + "x"]})).vectors
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.abs(np.array(asked) - np.array(sought)).max() > 1e-3
    assert client.post("/embed", json={"texts": ["x"], "side": "other"}).status_code == 422
    # both kinds in one pass of the lane
    service = client.service
    sources = [TextSource({name: [ASKED]}) for name in ("query", "document", "query")]
    together = service._embed_all(sources)
    np.testing.assert_allclose(np.concatenate(together), [asked[0], sought[0], asked[0]], atol=1e-6)
