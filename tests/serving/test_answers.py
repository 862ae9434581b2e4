"""What the API answers is what a comparison by hand gives, and tells nothing of this machine."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving_samples import KINDS, PICTURES, TEXTS, Serve, until

from nearfar.modalities.text.source import TextSource
from nearfar.run import Run
from nearfar.store import Store


def nearest(vectors: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All rows, nearest first, and their cosines."""
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    return np.argsort(-cosines, kind="stable"), cosines


def png(store: Store, row: int) -> bytes:
    """A picture of the store as a file."""
    return bytes(store.column("thumbnail")[row].as_py())


def test_words_find_what_their_vectors_find(texts: Store, encoders: dict[Path, Run], served: Serve):
    client, run = served(texts), encoders[texts.path]
    query = run.embed(TextSource({"query": ["the dog barks"]})).vectors[0]
    order, cosines = nearest(run.embed(TextSource({"text": TEXTS})).vectors, query)
    found = client.post("/search", json={"text": "the dog barks", "k": 5}).json()["results"]
    assert [one["id"] for one in found] == [f"n{row}" for row in order[:5]]
    assert [one["score"] for one in found] == pytest.approx(cosines[order[:5]], abs=1e-6)
    assert found[0]["columns"] == {"name": found[0]["id"], "label": KINDS[order[0]], "text": TEXTS[order[0]]}
    made = client.post("/embed", json={"texts": ["the dog barks", "x"]}).json()["vectors"]
    np.testing.assert_allclose(made[0], query, atol=1e-6)
    sky = client.post("/search", json={"vector": query.tolist(), "k": 8, "where": "label = 'sky'"}).json()["results"]
    assert [one["id"] for one in sky] == [f"n{row}" for row in order if KINDS[row] == "sky"]


def test_neighbours_are_other_rows(texts: Store, encoders: dict[Path, Run], served: Serve):
    vectors = encoders[texts.path].embed(TextSource({"text": TEXTS})).vectors
    order, _ = nearest(vectors, vectors[1])
    client = served(texts)
    for k in (3, 50):
        found = client.get("/neighbours", params={"id": "n1", "k": k}).json()["results"]
        assert [one["id"] for one in found] == [f"n{row}" for row in order if row != 1][:k]
    found = client.get("/neighbours", params={"id": "n1", "where": "label = 'sky'"}).json()["results"]
    assert [one["id"] for one in found] == [f"n{row}" for row in order if KINDS[row] == "sky"]
    row = client.get("/row", params={"id": "n1", "vector": True}).json()
    assert row["columns"]["text"] == TEXTS[1]
    np.testing.assert_allclose(row["vector"], vectors[1], atol=1e-6)
    for path in ("/row", "/neighbours", "/thumbnail"):
        assert client.get(path, params={"id": "none"}).status_code == 404


def test_a_picture_finds_itself_first(pictures: Store, served: Serve):
    client = served(pictures)
    files = [png(pictures, row) for row in range(3)]
    for row, file in enumerate(files):
        answer = client.post("/search/file", content=file, params={"k": 2, "thumbnails": True})
        first = answer.json()["results"][0]
        assert first["score"] == pytest.approx(1, abs=1e-6)
        shown = base64.b64decode(first["thumbnail"].partition(",")[2])
        np.testing.assert_array_equal(Image.open(io.BytesIO(shown)), Image.open(io.BytesIO(files[row])))
        kept = client.get("/thumbnail", params={"id": first["id"]})
        assert kept.content == shown and kept.headers["content-type"] == "image/png"
    assert len(client.post("/embed/file", content=files[0]).json()["vectors"][0]) == pictures.width
    assert client.post("/search", json={"text": "a bag"}).status_code == 400


def test_no_answer_has_a_path_of_this_machine(pictures: Store, served: Serve):
    client = served(pictures)
    some = client.get("/rows", params={"k": 50}).json()["results"]
    assert len(some) == PICTURES and len({one["id"] for one in some}) == PICTURES
    assert {one["columns"]["name"] for one in some} == {f"{row}.png" for row in range(PICTURES)}
    answers = [client.get(path) for path in ("/", "/info", "/metrics", "/openapi.json", "/rows?k=50")]
    for one in some[:3]:
        answers += [client.get(path, params={"id": one["id"]}) for path in ("/row", "/neighbours")]
        assert answers[-2].json()["columns"] == one["columns"]
    for where in ("name = '/home/x'", "id LIKE '/home/%'", "colour = 1", "label = 5", "label", "x("):
        answers.append(client.get("/rows", params={"where": where}))
        assert answers[-1].status_code == 400, where
    for one in ("/home/someone/photos/Bag/3.png", "3.png", "3.png~0123456789abcdef", str(pictures.path)):
        answers.append(client.get("/row", params={"id": one}))
        assert answers[-1].status_code == 404
    answers.append(client.post("/search/file", content=b"no picture"))
    for answer in answers:
        for secret in ("/home/someone", str(pictures.path), str(pictures.path.parent), ".cargo", "site-packages"):
            assert secret not in answer.text, answer.url


def test_some_rows_pass_a_filter(texts: Store, served: Serve):
    client = served(texts)
    found = client.get("/rows", params={"where": "label = 'sky' AND NOT (text LIKE '%sun%')"}).json()["results"]
    assert [(one["id"], one["score"]) for one in found] == [("n2", None), ("n4", None)]
    assert len(client.get("/rows", params={"k": 3}).json()["results"]) == 3
    info = client.get("/info").json()
    assert (info["title"], info["rows"], info["labels"]) == ("notes", 8, {"animals": 5, "sky": 3})
    assert info["takes"] == {"words": True, "file": False}


def test_questions_that_wait_share_one_pass(texts: Store, served: Serve, monkeypatch: pytest.MonkeyPatch):
    client, sizes = served(texts, batch=6), []
    gate, whole = threading.Event(), Run.vectors_of

    def slow(self: Run, method: Any, source: Any, *arguments: Any, **named: Any) -> np.ndarray:
        sizes.append(len(source))
        gate.wait(60)
        return whole(self, method, source, *arguments, **named)

    monkeypatch.setattr(Run, "vectors_of", slow)
    answers: dict[str, Any] = {}

    def ask(text: str) -> None:
        answers[text] = client.post("/embed", json={"texts": [text]}).json()["vectors"][0]

    threads = [threading.Thread(target=ask, args=(text,)) for text in TEXTS]
    for thread in threads:
        thread.start()
    until(lambda: len(client.service.lanes[0]) == 7)  # all but the first wait
    gate.set()
    for thread in threads:
        thread.join()
    assert sizes == [1, 6, 1]
    monkeypatch.setattr(Run, "vectors_of", whole)
    for text, vector in answers.items():
        np.testing.assert_allclose(
            vector, client.post("/embed", json={"texts": [text]}).json()["vectors"][0], atol=1e-6
        )
    assert 'nearfar_batch_size_count{lane="embed"}' in client.get("/metrics").text


def test_searches_together_are_searches_alone(pictures: Store, served: Serve):
    from nearfar.serving.service import Asked

    client = served(pictures)
    shown = [one["id"] for one in client.get("/rows", params={"k": PICTURES}).json()["results"]]
    jobs = [Asked(None, one, k, where) for one in shown[:6] for k in (1, 4) for where in (None, "label = 'Bag'")]
    jobs.append(Asked(None, "none", 3))
    together = client.service._search_all(jobs)
    alone = [client.service._search_all([job])[0] for job in jobs]
    assert [str(one) for one in together] == [str(one) for one in alone]
    assert [len(one) for one in together[:4]][::2] == [1, 4]


def test_requests_for_one_row_together(texts: Store, served: Serve, monkeypatch: pytest.MonkeyPatch):
    client, gate, answers = served(texts), threading.Event(), []
    work = client.service.lanes[2]._work
    monkeypatch.setattr(client.service.lanes[2], "_work", lambda jobs: (gate.wait(60), work(jobs))[1])

    def ask() -> None:
        answers.append(client.get("/row", params={"id": "n1", "vector": True}).json())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(client.service.lanes[2]) == 3)
    gate.set()
    for thread in threads:
        thread.join()
    assert answers == [answers[0]] * 4 and answers[0]["columns"]["text"] == TEXTS[1]


def test_a_store_of_unknown_vectors_is_searched_by_rows_and_vectors(tmp_path: Path, served: Serve):
    store = Store.create(tmp_path / "s", 2, columns={"kind": "string"})
    store.add(["a", "b/../c", "~x"], np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), {"kind": ["x", "y", None]})
    client = served(store)
    found = client.post("/search", json={"vector": [1, 0], "k": 2}).json()["results"]
    assert [(one["id"].partition("~")[0], round(one["score"], 6)) for one in found] == [("a", 1), ("c", 0.6)]
    assert client.get("/row", params={"id": found[1]["id"]}).json()["columns"] == {"kind": "y"}
    assert client.get("/neighbours", params={"id": found[1]["id"], "k": 1}).json()["results"][0]["columns"] == {}
    assert client.post("/search", json={"text": "a"}).status_code == 400
    for vector, status in (([1, 2, 3], 422), ([1e300, 0], 422), (["NaN", 0], 422), ([0, 0], 200)):
        assert client.post("/search", json={"vector": vector}).status_code == status


def test_a_lane_goes_on_when_work_fails_and_who_asked_has_gone():
    from nearfar.serving.lanes import Lane

    async def play() -> list[Any]:
        def work(jobs: Any) -> Any:
            if "bad" in jobs:
                raise ValueError("bad")
            return [job.upper() for job in jobs]

        lane: Lane[str, str] = Lane("test", work, 1, 3)
        gone = asyncio.create_task(lane.ask("gone"))
        asked = [asyncio.create_task(lane.ask(job)) for job in ("bad", "good", "more")]
        await asyncio.sleep(0)
        gone.cancel()
        found = await asyncio.gather(gone, *asked, return_exceptions=True)
        await lane.close()
        return [one if isinstance(one, str) else type(one).__name__ for one in found]

    assert asyncio.run(play()) == ["CancelledError", "ValueError", "GOOD", "Refused"]
