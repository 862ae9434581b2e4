"""From a store to a server that listens, until it is told to stop."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nearfar.errors import ConfigError
from nearfar.run import Run
from nearfar.store import Store
from nearfar.storing import encoder_of, provenance_of

from .guard import name_of
from .settings import ServeSettings

TOKEN = "NEARFAR_TOKEN"  # in the environment
SHORTEST = 16  # characters of a token
_LOCAL = ("localhost", "127.0.0.1", "::1")
_MOST_CONNECTIONS = 1000


def serve(
    store: str | Path | Store,
    run: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    settings: ServeSettings | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a store until SIGINT or SIGTERM; requests that run then are answered first.

    Args:
        store: as it is now; rows that are written later are seen by the next start.
        run: folder of the run whose encoder embeds questions; found by the store when None.
        host: address to listen at; others than this machine's own need a token.
        port: 0 for any that is free.
        token: what clients must say.
        settings: limits.
        say: told where it listens, and what cannot be asked.

    Raises:
        ConfigError: no store, a run that did not make its vectors, a port that is taken, no token where one is needed,
        or one that is too short. ImportError: the extra `serve` is not installed.
    """
    settings = settings or ServeSettings()
    check_token(token, host)
    opened = store if isinstance(store, Store) else Store.open(store)
    made = _encoder(opened, run, say)
    try:
        import uvicorn

        from .api import make_app
        from .metrics import Metrics
        from .service import Service
    except ImportError as error:
        raise ImportError(f"serving needs FastAPI and others: pip install 'nearfar[serve]' ({error})") from error
    with listening(host, port) as at:
        metrics = Metrics()
        service = Service(opened, made, settings, metrics)
        hosts = () if not is_local(host) and not settings.hosts else (*_LOCAL, host, *settings.hosts)
        app = make_app(service, settings, metrics, token, [name_of(one) for one in hosts])
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a client could say that it is another one
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=int(settings.timeout) + 1,
        )
        place = f"[{host}]" if ":" in host else host
        say(f"{service.rows:,} rows of {opened.path} at http://{place}:{at.getsockname()[1]}/ (stop with Ctrl-C)")
        _until_told(uvicorn.Server(config), at)


def _until_told(server: Any, at: socket.socket) -> None:
    """Run; the server answers what runs when a signal comes, and then raises the signal again, which ends it here."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[at])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        at = socket.socket(family, kind, protocol)
        at.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        at.bind(address)
        at.listen(128)
    except OSError as error:
        raise ConfigError(
            f"port {port} of {host} cannot be used: {error.strerror or error}; choose another with --port or --host"
        ) from None
    return at


def _encoder(store: Store, run: str | Path | None, say: Callable[[str], None]) -> Run | None:
    """What embeds questions: the run that was named, which must have made the vectors, or the one the store knows."""
    if run is not None:
        made = Run.load(run)
        store.provenance.require(provenance_of(made), str(store.path))
        return made
    if not store.provenance.config:
        say(f"{store.path} does not know what made its vectors: it is searched by rows and vectors, not by words")
        return None
    return encoder_of(store)


def read_token(file: Path | None) -> str | None:
    """The token of a file, or that of the environment variable NEARFAR_TOKEN; None where there is none.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the token cannot be read from {file}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if not found:
        raise ConfigError(f"{file} is empty; write a token into it, such as that of: openssl rand -hex 32")
    return found


def check_token(token: str | None, host: str) -> None:
    """Refuse to listen to other machines without a token, and tokens that can be guessed.

    Raises:
        ConfigError: it is so.

    >>> check_token(None, "127.0.0.1")
    >>> check_token(None, "0.0.0.0")
    Traceback (most recent call last):
    nearfar.errors.ConfigError: 0.0.0.0 can be reached from other machines, so a token is needed: --token-file FILE, or
    NEARFAR_TOKEN in the environment
    """
    if token is None and not is_local(host):
        raise ConfigError(
            f"{host} can be reached from other machines, so a token is needed: --token-file FILE, or {TOKEN} in the "
            "environment"
        )
    if token is not None and (len(token) < SHORTEST or not token.isprintable() or not token.isascii()):
        raise ConfigError(
            f"a token has {SHORTEST} characters or more, of ASCII and on one line: make one with: openssl rand -hex 32"
        )


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> [is_local(host) for host in ("localhost", "127.0.0.2", "::1", "0.0.0.0", "192.168.1.2", "example.org")]
    [True, True, True, False, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
