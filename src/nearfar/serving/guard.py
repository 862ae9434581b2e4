"""What every request passes before it is answered: host, rate, token, origin, size, room and time; and what all
answers carry."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from .limits import Rate
from .metrics import Metrics
from .refusals import Refused
from .settings import ServeSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = "/health"  # the only route that asks for no token
_UNHURRIED = (OPEN, "/metrics")  # take no room, so that they are answered when there is none
_BODIES = 16  # of the largest size that may be held at once
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_log = logging.getLogger("nearfar.serving")


class Guard:
    """An ASGI application around another one.

    Args:
        app: what answers.
        settings: limits.
        metrics: where requests are counted.
        token: what clients must say; None for no token.
        hosts: names and addresses by which this server may be called; any where empty. A page elsewhere cannot then
            reach it under a name of its own (DNS rebinding).
        routes: paths that figures are kept of.
    """

    def __init__(
        self,
        app: App,
        settings: ServeSettings,
        metrics: Metrics,
        token: str | None = None,
        hosts: Collection[str] = (),
        routes: Collection[str] = (),
    ) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._token = None if token is None else _digest(token)
        self._hosts, self._routes = frozenset(hosts), frozenset(routes)
        self._rate = Rate(settings.rate)
        self.running = self._held = 0
        metrics.watch("running", "Requests that run or wait.", {"all": lambda: self.running})

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, answer = time.monotonic(), _Answer(send)
        try:
            await self._answer(scope, receive, answer)
        except Refused as error:
            await _refuse(answer, error)
        except asyncio.TimeoutError:
            await _refuse(answer, Refused(503, f"this took longer than {self._settings.timeout:g} s; try again", 1))
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            await _refuse(answer, Refused(500, "something went wrong here; the server has noted what"))
        finally:
            route = scope["path"] if scope["path"] in self._routes else "other"
            self._metrics.answered(route, answer.status, time.monotonic() - began)

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        self._check_host(headers.get("host", ""))
        if scope["path"] != OPEN:
            self._check_rate((scope.get("client") or ("",))[0])
            self._check_token(headers.get("authorization", ""))
            _check_origin(headers)
        counts = scope["path"] not in _UNHURRIED
        if counts and self.running >= self._settings.waiting:
            raise Refused(503, "too many requests wait; try again later", retry=1)
        self.running += counts
        try:
            await asyncio.wait_for(self._within(scope, receive, send, headers), self._settings.timeout)
        finally:
            self.running -= counts

    async def _within(self, scope: Message, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        most, held, given = self._settings.most_bytes, 0, False

        def take(count: int) -> None:
            nonlocal held
            held += count
            self._held += count
            if held > most:
                raise Refused(413, f"a request has at most {most:,} bytes")
            if self._held > _BODIES * most:
                raise Refused(503, "too much is being sent; try again later", retry=1)

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            length = headers.get("content-length", "")
            if length.isdigit() and int(length) > most:
                take(most + 1)  # without waiting for it
            body = await _body(receive, take)
            await self._app(scope, replay, send)
        finally:
            self._held -= held

    def _check_host(self, host: str) -> None:
        if self._hosts and name_of(host) not in self._hosts:
            raise Refused(421, "this server is not called so; allow a name with --allow-host")

    def _check_rate(self, client: str) -> None:
        wait = self._rate.wait(client)
        if wait:
            raise Refused(429, f"at most {self._settings.rate:g} requests a second; slow down", retry=wait)

    def _check_token(self, said: str) -> None:
        if self._token is not None and not hmac.compare_digest(self._token, _digest(_token_in(said))):
            raise Refused(401, "say the token: Authorization: Bearer TOKEN, or as the password of a browser")


class _Answer:
    """Sends an answer with the headers that all of them carry, and keeps its status."""

    def __init__(self, send: Send) -> None:
        self._send, self.status, self.begun = send, 0, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.begun = message["status"], True
            own = {key for key, _ in message["headers"]}
            more = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in own]
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)


async def _refuse(answer: _Answer, error: Refused) -> None:
    if answer.begun:
        return  # the connection ends in the middle of the answer
    body = json.dumps({"error": error.message}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    if error.status == 401:
        headers["www-authenticate"] = 'Basic realm="nearfar", charset="UTF-8"'
    listed = [(key.encode(), value.encode()) for key, value in headers.items()]
    await answer({"type": "http.response.start", "status": error.status, "headers": listed})
    await answer({"type": "http.response.body", "body": body})


async def _body(receive: Receive, take: Callable[[int], None]) -> bytes:
    """The body of a request, in memory; nothing is written to disk."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the request ended early")
        parts.append(message.get("body", b""))
        take(len(parts[-1]))
        more = message.get("more_body", False)
    return b"".join(parts)


def _check_origin(headers: dict[str, str]) -> None:
    """Pages of other servers may link here, and nothing more."""
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin")
    foreign = site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate"
    if foreign or (origin is not None and origin.partition("://")[2] != headers.get("host")):
        raise Refused(403, "pages of other servers may not ask this one")


def name_of(host: str) -> str:
    """The name in a Host header, without the port.

    >>> name_of("Localhost:8000"), name_of("[::1]:8000"), name_of("::1")
    ('localhost', '::1', '::1')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def _token_in(said: str) -> str:
    """The token of a Bearer header, or the password of a Basic one."""
    scheme, _, value = said.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _digest(text: str) -> bytes:
    """Of one length, so that comparing takes the same time whatever was said."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
