"""Who may ask, from where, how much and how often."""

from __future__ import annotations

import asyncio
import base64
import threading
from typing import Any

import pytest
from serving_samples import Serve, until

from nearfar.serving.limits import Rate
from nearfar.store import Store

TOKEN = "a token that nobody guesses"
GET = ("/", "/info", "/metrics", "/openapi.json", "/rows", "/row?id=n1", "/neighbours?id=n1", "/thumbnail?id=n1",
       "/docs", "/nowhere", "//health", "/health/", "/HEALTH")  # fmt: skip
POST = ("/search", "/search/file", "/embed", "/embed/file", "/")
ROUTES = [("GET", path) for path in GET] + [("POST", path) for path in POST]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_every_route_but_health_asks_for_the_token(texts: Store, served: Serve):
    client = served(texts, token=TOKEN)
    described = {(method.upper(), path) for path, said in client.app.openapi()["paths"].items() for method in said}
    asked = {(method, path.partition("?")[0]) for method, path in ROUTES}
    assert described - {("GET", "/health")} <= asked
    wrong = [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"bearer x{TOKEN}", TOKEN,
             basic("", TOKEN[1:]), basic(TOKEN, ""), "Basic !", "Basic " + base64.b64encode(b"\xff\xfe").decode(),
             f"Digest {TOKEN}"]  # fmt: skip
    for method, path in ROUTES:
        for said in wrong:
            answer = client.request(method, path, headers={} if said is None else {"authorization": said})
            assert answer.status_code == 401, (method, path, said)
            assert "Basic" in answer.headers["www-authenticate"] and set(answer.json()) == {"error"}
    assert client.get("/health").json() == {"status": "ok"}
    for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}", basic("anyone", TOKEN)):
        for method, path in ROUTES:
            assert client.request(method, path, headers={"authorization": right}).status_code not in (401, 500)
        assert client.get("/", headers={"authorization": right}).status_code == 200


def test_other_names_of_the_server_and_pages_of_others_are_refused(texts: Store, served: Serve):
    client = served(texts, hosts=("127.0.0.1", "localhost", "::1"))
    for host, status in (("evil.example", 421), ("", 421), ("127.0.0.1.evil.example:80", 421), ("localhost:1", 200),
                         ("LOCALHOST", 200), ("[::1]:8000", 200), ("127.0.0.1", 200)):  # fmt: skip
        assert client.get("/info", headers={"host": host}).status_code == status, host
        assert client.get("/health", headers={"host": host}).status_code == status, host
    for headers, status in (({"origin": "http://evil.example"}, 403), ({"origin": "null"}, 403),
                            ({"origin": "http://127.0.0.1"}, 200), ({"sec-fetch-site": "cross-site"}, 403),
                            ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
                            ({"sec-fetch-site": "same-origin"}, 200)):  # fmt: skip
        answer = client.get("/info", headers=headers)
        assert answer.status_code == status, headers
        assert not any(name.startswith("access-control") for name in answer.headers)
    assert served(texts, hosts=()).get("/info", headers={"host": "any.example"}).status_code == 200


def test_answers_carry_what_keeps_browsers_safe(texts: Store, served: Serve):
    client = served(texts)
    for path in ("/", "/info", "/nowhere", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
    page = client.get("/")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "http://" not in page.text and "https://" not in page.text


def test_a_request_has_a_largest_size(texts: Store, served: Serve):
    client = served(texts, most_bytes=2000)
    large = b"x" * 2001
    assert client.post("/search/file", content=large).status_code == 413
    assert client.post("/search/file", content=iter([large[:1500], large[1500:]])).status_code == 413  # says no length
    assert client.post("/search", content=large, headers={"content-length": "99999999999999999999"}).status_code == 413
    assert client.post("/search/file", content=large[:2000]).status_code == 400  # texts are searched by words
    assert client.post("/embed", json={"texts": ["x"] * 65}).status_code == 422
    assert client.post("/search", json={"text": "x", "k": 101}).status_code == 422


def test_bodies_on_their_way_take_so_much_memory_together(texts: Store, served: Serve):
    client, answers = served(texts), []

    async def play() -> None:
        from nearfar.serving import ServeSettings
        from nearfar.serving.guard import Guard
        from nearfar.serving.metrics import Metrics

        guard = Guard(client.app, ServeSettings(most_bytes=1000, rate=0), Metrics())

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answers.append(message["status"])

        async def one() -> None:
            parts = [b"x" * 900, b"x" * 100]

            async def receive() -> dict[str, Any]:
                if len(parts) == 1:
                    await stop.wait()
                return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

            scope = {"type": "http", "method": "POST", "path": "/nowhere", "headers": [], "query_string": b""}
            await guard(scope, receive, send)

        stop = asyncio.Event()
        asked = [asyncio.create_task(one()) for _ in range(20)]
        await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*asked)

    asyncio.run(play())
    assert answers.count(503) == 3 and len(answers) == 20


def test_a_client_may_ask_so_often(texts: Store, served: Serve):
    client = served(texts, rate=0.5)
    assert client.get("/info").status_code == 200
    answer = client.get("/info")
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) in (1, 2)
    assert client.get("/health").status_code == 200
    now = [0.0]
    rate = Rate(2.0, clock=lambda: now[0])
    assert [rate.wait("a") for _ in range(5)] == [0, 0, 0, 0, 1]
    now[0] = 0.5
    assert [rate.wait("a"), rate.wait("a"), rate.wait("b")] == [0, 1, 0]


def test_too_many_at_once_are_told_to_come_back(texts: Store, served: Serve, monkeypatch: pytest.MonkeyPatch):
    client, gate = served(texts, waiting=2), threading.Event()
    work = client.service.lanes[1]._work
    monkeypatch.setattr(client.service.lanes[1], "_work", lambda jobs: (gate.wait(60), work(jobs))[1])
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.get("/neighbours?id=n1").status_code)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    until(lambda: 'nearfar_running{lane="all"} 2.0' in client.get("/metrics").text)
    answer = client.get("/neighbours?id=n1")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    assert client.get("/health").status_code == 200
    gate.set()
    for thread in threads:
        thread.join()
    assert answers == [200, 200] and client.get("/neighbours?id=n1").status_code == 200


def test_a_request_has_a_longest_time(texts: Store, served: Serve, monkeypatch: pytest.MonkeyPatch):
    client, gate = served(texts, timeout=0.2), threading.Event()
    work = client.service.lanes[1]._work
    monkeypatch.setattr(client.service.lanes[1], "_work", lambda jobs: (gate.wait(60), work(jobs))[1])
    answer = client.get("/neighbours?id=n1")
    assert answer.status_code == 503 and "longer than 0.2 s" in answer.json()["error"]
    gate.set()
    monkeypatch.setattr(client.service.lanes[1], "_work", work)
    assert client.get("/health").status_code == 200


def test_what_goes_wrong_inside_is_not_told(texts: Store, served: Serve, monkeypatch: pytest.MonkeyPatch):
    client = served(texts)

    def broken(jobs: Any) -> Any:
        raise RuntimeError("/secret/place is broken")

    monkeypatch.setattr(client.service.lanes[1], "_work", broken)
    answer = client.get("/neighbours?id=n1")
    assert answer.status_code == 500 and "secret" not in answer.text and set(answer.json()) == {"error"}
    assert 'nearfar_requests_total{route="/neighbours",status="500"} 1.0' in client.get("/metrics").text
