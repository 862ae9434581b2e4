"""The pages of the map: Embedding Atlas over a table, in a folder or served on this machine alone."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nearfar.errors import ConfigError, NearfarError

from .table import NEIGHBOURS, ROW, Mapped, X, Y

HOST = "127.0.0.1"
_TABLE, _FACTS = "dataset.parquet", "metadata.json"


def write_site(made: Mapped, folder: Path) -> Path:
    """Write pages, program and data into a new folder, about 110 MB, which any server of files can show.

    Raises:
        ConfigError: the folder is there and not empty. NearfarError: it cannot be written.
    """
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; choose a new folder for the map")
    try:
        shutil.copytree(_program(), folder, dirs_exist_ok=True)
        _write_data(made, folder / "data")
    except OSError as error:
        raise NearfarError(f"{folder}: the map could not be written: {error.strerror or error}") from None
    return folder


def serve(made: Mapped, port: int, ready: Callable[[str], None]) -> None:
    """Show the map on this machine until Ctrl-C; nothing but these files is served, and only to this machine.

    Args:
        port: 0 takes a free one.
        ready: is told the address once the port is open.

    Raises:
        ConfigError: the port is taken. ImportError: embedding-atlas is not installed.
    """
    program = _program()
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    with tempfile.TemporaryDirectory(prefix="nearfar-map-") as folder, _opened(port) as listening:
        _write_data(made, Path(folder))
        routes = [Mount("/data", StaticFiles(directory=folder)), Mount("/", StaticFiles(directory=program, html=True))]
        # Another site in the same browser must not read the map under a name of its own.
        hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
        ready(f"http://{HOST}:{listening.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes, middleware=[hosts]), log_level="error"))
        server.run(sockets=[listening])


def _opened(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen()
    except OSError:
        made.close()
        raise ConfigError(f"port {port} is taken; choose another with --port, or 0 for a free one") from None
    return made


def _program() -> Path:
    """The folder of pages and program of Embedding Atlas.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import embedding_atlas
    except ImportError as error:
        raise ImportError("the map needs embedding-atlas: pip install 'nearfar[explore]'") from error
    return Path(embedding_atlas.__file__).parent / "static"


def _write_data(made: Mapped, folder: Path) -> None:
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(made.table, folder / _TABLE)
    (folder / _FACTS).write_text(json.dumps(_facts(made)))


def _facts(made: Mapped) -> dict[str, Any]:
    """What the program is told: where things stand, and that the table is read in the browser."""
    data = {"id": ROW, "projection": {"x": X, "y": Y}, "neighbors": NEIGHBOURS}
    shown = {"text": made.text, "image": made.image}
    view = {X: X, Y: Y, "neighbors": NEIGHBOURS, **shown, "category": made.colour}
    charts = {"embedding": {"title": f"Map: {made.how}", "data": _there(view)}, "exclude": ["id"]}
    styles = {X: {"display": "hidden"}, Y: {"display": "hidden"}, "image": {"renderer": "image", "display": "full"}}
    return {
        "props": {
            "data": data | _there(shown),
            "defaultChartsConfig": charts,
            "initialState": {"columnStyles": styles},
        },
        "isStatic": True,
        "database": {"type": "wasm", "load": True},
    }


def _there(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
