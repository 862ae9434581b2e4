"""The routes, as OpenAPI describes them."""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from nearfar.store import Hit
from nearfar.storing import THUMBNAIL
from nearfar.version import VERSION

from .filters import LONGEST
from .guard import Guard
from .metrics import Metrics
from .page import page, policy
from .refusals import Refused
from .service import Asked, Service
from .settings import ServeSettings

MOST_ROWS = 100
MOST_TEXTS = 64
MOST_CHARACTERS = 10_000  # of a question
_COMPACT = r"^(int8|binary|[1-9]\d{0,4})$"
_CUT = 600  # characters of a cell among results; a row by itself has them all
_KINDS = {b"\x89PNG": "image/png", b"RIFF": "image/webp", b"\xff\xd8\xff": "image/jpeg"}
_FILES = {"image/*": {"schema": {"type": "string", "format": "binary"}},
          "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}  # fmt: skip

Words = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
Id = Annotated[str, Query(min_length=1, max_length=2000, description="Of a row.")]  # servers bound addresses
K = Annotated[int, Query(ge=1, le=MOST_ROWS, description="How many rows.")]
Filter = Annotated[str | None, Query(max_length=LONGEST, description="Only rows that pass: label = 'cat'.")]
Flag = Annotated[bool, Query()]
Compact = Annotated[str | None, Query(pattern=_COMPACT, description="By compact vectors.")]


class Strict(BaseModel):
    """A body without unknown keys."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Texts(Strict):
    """Words to embed."""

    texts: list[Words] = Field(min_length=1, max_length=MOST_TEXTS)
    side: Literal["query", "document"] = Field(
        "query", description="Whether they ask or are sought: which of the encoder's prompts stands before them."
    )


class Question(Strict):
    """A search by words, by the id of a row, or by a vector: one of the three."""

    text: Words | None = None
    id: Words | None = None
    vector: list[float] | None = Field(None, max_length=65_536)
    k: int = Field(10, ge=1, le=MOST_ROWS)
    where: str | None = Field(None, max_length=LONGEST, description="Only rows that pass: label = 'cat'.")
    approximate: bool = Field(False, description="By the index of the store.")
    thumbnails: bool = Field(False, description="Bring small pictures along, as data URIs.")
    compact: str | None = Field(None, pattern=_COMPACT, description="By compact vectors, scored again in full.")
    words: Literal["meaning", "lexical", "hybrid"] = Field(
        "meaning", description="A text is looked for by its vector, by its words (BM25), or by both, fused by ranks."
    )
    column: str = Field("text", max_length=200, description="In which words are looked for.")


class Vectors(BaseModel):
    """Vectors of what was sent, in its order."""

    vectors: list[list[float]]


class Result(BaseModel):
    """A row that was found."""

    id: str
    score: float | None = Field(
        description="Its cosine with the question, or that of words; none where nothing was asked."
    )
    columns: dict[str, Any]
    thumbnail: str | None = None


class Results(BaseModel):
    """Rows, nearest first."""

    results: list[Result]


class Row(BaseModel):
    """One row."""

    id: str
    columns: dict[str, Any]
    thumbnail: str | None = None
    vector: list[float] | None = None


class Info(BaseModel):
    """What the store holds, and how it can be searched."""

    title: str
    rows: int
    width: int
    modality: str | None
    weights: str | None = Field(description="The beginning of the hash of the encoder's weights.")
    takes: dict[str, bool] = Field(description="Whether it is searched by words, and by files.")
    columns: dict[str, str] = Field(description="Columns to filter by, and their types.")
    labels: dict[str, int]
    thumbnails: bool
    index: str | None
    words: list[str] = Field(description="Columns in which words are looked for.")
    compact: list[str] = Field(description="Compact vectors that there are.")


class Wrong(BaseModel):
    """Why there is no answer."""

    error: str


class Health(BaseModel):
    """That the server answers."""

    status: str = "ok"


_WRONG: dict[int | str, dict[str, Any]] = {
    400: {"description": "It cannot be used so."},
    401: {"description": "Without the token."},
    403: {"description": "From a page of another server."},
    404: {"description": "There is no such row."},
    413: {"description": "Too large."},
    415: {"description": "Of another type."},
    421: {"description": "Under another name."},
    422: {"description": "Not as described, or broken."},
    429: {"description": "Too often; see Retry-After."},
    503: {"description": "Too busy; see Retry-After."},
}
_ERRORS = {status: {**said, "model": Wrong} for status, said in _WRONG.items()}


def make_app(
    service: Service,
    settings: ServeSettings,
    metrics: Metrics,
    token: str | None = None,
    hosts: Collection[str] = (),
) -> FastAPI:
    """The application of a store; see `nearfar.serving.guard.Guard` for token and hosts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    # The usual pages of documentation load scripts from other hosts.
    app = FastAPI(title="nearfar", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan, responses=_ERRORS)
    app.exception_handler(Refused)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_no_route)
    _routes(app, service, metrics)
    paths = [route.path for route in app.routes if hasattr(route, "path")]
    app.add_middleware(Guard, settings=settings, metrics=metrics, token=token, hosts=hosts, routes=paths)
    metrics.watch("waiting", "Requests that wait for a lane.", {lane.name: lane.__len__ for lane in service.lanes})
    return app


def _routes(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/", include_in_schema=False)
    async def search_page() -> Response:
        return Response(page(service.info()["title"]), media_type="text/html",
                        headers={"content-security-policy": policy()})  # fmt: skip

    @app.get("/health")
    async def health() -> Health:
        """Whether the server answers; asks for no token."""
        return Health()

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def figures() -> Response:
        """Counts and times for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/info")
    async def info() -> Info:
        """What the store holds, and how it can be searched."""
        return Info(**service.info())

    @app.post("/embed")
    async def embed(texts: Texts) -> Vectors:
        """Vectors of words, as a question is embedded, or as what is sought."""
        return Vectors(vectors=(await service.embed(texts.texts, texts.side == "document")).tolist())

    @app.post("/embed/file", openapi_extra={"requestBody": {"required": True, "content": _FILES}})
    async def embed_file(request: Request) -> Vectors:
        """The vector of a file, whose bytes are the body of the request."""
        return Vectors(vectors=(await service.embed([await _file(request)])).tolist())

    @app.post("/search")
    async def search(question: Question) -> Results:
        """The rows nearest to words, to a row, or to a vector."""
        given = [question.text is not None, question.id is not None, question.vector is not None]
        if sum(given) != 1:
            raise Refused(422, "search by one of: text, id, vector")
        if question.words != "meaning" and question.text is None:
            raise Refused(422, f"words = {question.words} looks for a text; give one")
        vector = None if question.vector is None else np.array(question.vector, dtype=np.float64)
        if question.text is not None and question.words != "lexical":
            vector = (await service.embed([question.text]))[0]
        words = question.text if question.words != "meaning" else None
        named = question.model_dump(include={"k", "where", "approximate", "thumbnails", "compact", "column"})
        return _results(await service.search(Asked(vector, question.id, words=words, **named)))

    @app.post("/search/file", openapi_extra={"requestBody": {"required": True, "content": _FILES}})
    async def search_file(
        request: Request,
        k: K = 10,
        where: Filter = None,
        approximate: Flag = False,
        thumbnails: Flag = False,
        compact: Compact = None,
    ) -> Results:
        """The rows nearest to a file, whose bytes are the body of the request."""
        vector = (await service.embed([await _file(request)]))[0]
        return _results(await service.search(Asked(vector, None, k, where, approximate, thumbnails, compact)))

    @app.get("/neighbours")
    async def neighbours(
        id: Id,
        k: K = 10,
        where: Filter = None,
        approximate: Flag = False,
        thumbnails: Flag = False,
        compact: Compact = None,
    ) -> Results:
        """The rows nearest to a row, without itself."""
        return _results(await service.search(Asked(None, id, k, where, approximate, thumbnails, compact)))

    @app.get("/rows")
    async def rows(k: K = 10, where: Filter = None, thumbnails: Flag = False) -> Results:
        """Some rows to begin with: drawn once, or the first that pass a filter."""
        return _results(await service.some(k, where, thumbnails))

    @app.get("/row")
    async def row(id: Id, vector: Flag = False) -> Row:
        """One row, on request with its vector."""
        found = await service.row(id)
        own, picture = found.pop("vector"), _data_uri(found.pop(THUMBNAIL, None))
        return Row(id=id, columns=found, thumbnail=picture, vector=own if vector else None)

    @app.get(
        "/thumbnail",
        response_class=Response,
        responses={200: {"content": {kind: {} for kind in sorted(set(_KINDS.values()))}}},
    )
    async def thumbnail(id: Id) -> Response:
        """The small picture of a row."""
        content = (await service.row(id)).get(THUMBNAIL)
        kind = _kind(content)
        if content is None or kind is None:
            raise Refused(404, "this row has no picture")
        return Response(content, media_type=kind, headers={"cache-control": "private, max-age=3600"})


async def _file(request: Request) -> bytes:
    """The bytes of a file that was sent as they are: no form, so no file names and no temporary files."""
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if not (kind.startswith("image/") or kind == "application/octet-stream"):
        raise Refused(415, f"send the bytes of a file as image/* or application/octet-stream, not as {kind[:100]}")
    return await request.body()


def _results(hits: list[Hit]) -> Results:
    found = []
    for hit in hits:
        columns = dict(hit.columns)
        picture = columns.pop(THUMBNAIL, None)
        columns = {name: _cut(value) for name, value in columns.items()}
        score = hit.score if math.isfinite(hit.score) else None
        found.append(Result(id=hit.id, score=score, columns=columns, thumbnail=_data_uri(picture)))
    return Results(results=found)


def _cut(value: Any) -> Any:
    return value[:_CUT] + "…" if isinstance(value, str) and len(value) > _CUT else value


def _kind(content: bytes | None) -> str | None:
    return next((kind for head, kind in _KINDS.items() if content and content.startswith(head)), None)


def _data_uri(content: bytes | None) -> str | None:
    kind = _kind(content)
    return None if kind is None or content is None else f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return JSONResponse({"error": error.message}, error.status, error.headers)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    """What does not fit the description, without what was sent, which JSON may not be able to say."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return JSONResponse({"error": f"{where[:200]}: {first['msg'][:300]}".encode("utf-8", "replace").decode()}, 422)


def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
