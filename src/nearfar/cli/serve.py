"""nearfar serve."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import Where, app

_HOST = "Address to listen at; others than this machine's own need a token."
_TOKEN = "File with a token that clients must say; or NEARFAR_TOKEN in the environment."
_RUN = "The run that embeds questions; found by the store if not given."


@app.command()
def serve(
    store: Annotated[str, typer.Argument(help="The folder of a store, or its address.")],
    run: Annotated[Where, typer.Option(help=_RUN)] = None,
    host: Annotated[str, typer.Option(help=_HOST)] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.", min=0, max=65535)] = 8000,
    token_file: Annotated[Where, typer.Option(help=_TOKEN)] = None,
    allow_host: Annotated[list[str], typer.Option(help="A further name of the server.")] = [],  # noqa: B006
    rate: Annotated[float, typer.Option(help="Requests a second for each client; 0 for any.", min=0)] = 50,
    waiting: Annotated[int, typer.Option(help="Requests that run or wait; more are answered 503.", min=1)] = 128,
    batch: Annotated[int, typer.Option(help="Questions that share a pass.", min=1)] = 32,
    timeout: Annotated[float, typer.Option(help="Seconds for a request.", min=0.001)] = 30,
    most_bytes: Annotated[int, typer.Option(help="Bytes of a request.", min=1000)] = 10_000_000,
) -> None:
    """Serve a STORE over HTTP: a page to search with at /, and an API that /openapi.json describes."""
    from ..serving import ServeSettings, read_token
    from ..serving import serve as serving

    settings = ServeSettings(
        rate=rate, waiting=waiting, batch=batch, timeout=timeout, most_bytes=most_bytes, hosts=tuple(allow_host)
    )
    serving(store, run, host=host, port=port, token=read_token(token_file), settings=settings, say=typer.echo)
