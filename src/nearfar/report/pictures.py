"""Pictures inside the page: arrays to data URIs, a sheet of thumbnails, the grid of nearest neighbours."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nearfar.errors import DataError
from nearfar.report.data import Image, Neighbours, ReportData
from nearfar.report.text import esc, plural, score, section

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_LARGEST = 112  # pixels of the longer side in the grid
_MOST_QUERIES, _MOST_NEIGHBOURS = 24, 12


def picture(image: Image, largest: int) -> Picture:
    """A (C, H, W) uint8 array as a picture whose longer side is at most `largest` pixels.

    Raises DataError when the array is not uint8 with three axes, ImportError when Pillow is missing.
    """
    try:
        from PIL import Image as pillow
    except ImportError as error:
        raise ImportError("pictures in a report need Pillow: pip install 'nearfar[report]'") from error
    array = np.asarray(image)
    if array.ndim != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise DataError(f"a picture is {array.dtype} with shape {array.shape}; it must be uint8 (C, H, W)")
    channels = array.shape[0] if array.shape[0] in (1, 3, 4) else (3 if array.shape[0] > 4 else 1)
    pixels = np.ascontiguousarray(array[:channels].transpose(1, 2, 0))
    result = pillow.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    result.thumbnail((largest, largest))
    return result


def encoded(image: Picture) -> tuple[bytes, str]:
    """Small pictures as PNG, which keeps every pixel; larger ones as WebP, which is light: the file and its kind."""
    buffer = io.BytesIO()
    kind = "png" if max(image.size) <= 64 else "webp"
    image.save(buffer, kind, **({"optimize": True} if kind == "png" else {"quality": 80}))
    return buffer.getvalue(), kind


def data_uri(image: Picture) -> str:
    """A picture inside a page; see `encoded`."""
    content, kind = encoded(image)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def sheet(images: Sequence[Image], cell: int = 40) -> tuple[str, int, int]:
    """All images on one sheet, row by row: data URI, pixels of a (square) cell, cells in a row."""
    from PIL import Image as pillow

    small = [picture(image, cell) for image in images]
    side = max(max(image.size) for image in small)
    across = math.ceil(math.sqrt(len(small)))
    grey = all(image.mode == "L" for image in small)
    canvas = pillow.new("L" if grey else "RGB", (across * side, math.ceil(len(small) / across) * side))
    for position, image in enumerate(small):
        left, top = position % across * side, position // across * side
        canvas.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))
    return data_uri(canvas), side, across


def _tile(image: Image | str, alt: str, css: str, caption: str) -> str:
    if isinstance(image, str):
        words = f'<p title="{esc(alt)}">{esc(image)}</p>'
        return f'<figure class="tile words {css}">{words}<figcaption>{caption}</figcaption></figure>'
    small = picture(image, _LARGEST)
    sharp = "sharp" if max(small.size) <= 64 else ""
    size = f'width="{small.width}" height="{small.height}"'
    img = f'<img class="{sharp}" src="{data_uri(small)}" {size} alt="{esc(alt)}">'
    return f'<figure class="tile {css}" title="{esc(alt)}">{img}<figcaption>{caption}</figcaption></figure>'


def agreement(data: ReportData) -> tuple[int, int] | None:
    """Neighbours in the grid that share their query's label, and neighbours whose label is known."""
    grid = data.neighbours
    if grid is None or grid.query_labels is None or grid.neighbour_labels is None:
        return None
    known = [
        (a, b) for a, row in zip(grid.query_labels, grid.neighbour_labels, strict=True) for b in row if min(a, b) >= 0
    ]
    return (sum(int(a) == int(b) for a, b in known), len(known)) if known else None


def _rows(data: ReportData, grid: Neighbours, called: str = "Neighbour") -> str:
    """A line of tiles for each query."""
    rows = []
    for row in range(min(len(grid.queries), _MOST_QUERIES)):
        label = int(grid.query_labels[row]) if grid.query_labels is not None else -1
        name = data.class_name(label) if label >= 0 else ""
        alt = f"Query {row + 1}" + (f": {name}" if name else "")
        tiles = [_tile(grid.queries[row], alt, "query", esc(name or f"query {row + 1}"))]
        for rank, image in enumerate(grid.neighbours[row][:_MOST_NEIGHBOURS]):
            other = int(grid.neighbour_labels[row][rank]) if grid.neighbour_labels is not None else -1
            judged = label >= 0 and other >= 0
            css = ("agree" if other == label else "differ") if judged else "plain"
            words = f"{called} {rank + 1} of query {row + 1}" + (f": {data.class_name(other)}" if other >= 0 else "")
            words += (", same label" if css == "agree" else ", another label") if judged else ""
            near = (
                f"<small>{score(float(grid.similarities[row][rank]))}</small>" if grid.similarities is not None else ""
            )
            tiles.append(_tile(image, words, css, (esc(data.class_name(other)) if css == "differ" else "") + near))
        rows.append(f'<div class="row">{"".join(tiles)}</div>')
    return "".join(rows)


def neighbours(data: ReportData) -> str:
    """The section of queries and their nearest neighbours."""
    grid = data.neighbours
    if grid is None or not len(grid.queries):
        return ""
    rows = _rows(data, grid)
    counted = agreement(data)
    lead = "Each row starts with a query; to its right are the items whose vectors are closest to it, nearest first."
    legend = ""
    if counted:
        lead += f" Here {counted[0]} of {plural(counted[1], 'neighbour')} have the query’s label."
        legend = (
            '<ul class="keys"><li><span class="edge agree"></span>solid green edge: same label as the query</li>'
            '<li><span class="edge differ"></span>dashed red edge, with its class below: another label</li></ul>'
        )
    if len(grid.queries) > _MOST_QUERIES:
        lead += f" The first {_MOST_QUERIES} of {len(grid.queries):,} queries are shown."
    return section("neighbours", "Nearest neighbours", lead, f'{legend}<div class="neighbours">{rows}</div>')


def contradicting(data: ReportData) -> str:
    """The section of items and the partners that contradict what a biased encoder believes of them."""
    if data.contradicting is None:
        return ""
    lead = (
        "Each row starts with an item; to its right are the one with the same label that the biased encoder finds "
        "least alike, and the one with another label that it finds most alike."
    )
    rows = _rows(data, data.contradicting, "Partner")
    return section("contradicting", "Pairs that contradict", lead, f'<div class="neighbours">{rows}</div>')
