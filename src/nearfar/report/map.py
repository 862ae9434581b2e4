"""A map of the embeddings: two dimensions, a colour and a mark per class, a thumbnail under the pointer."""

from __future__ import annotations

import importlib.util
import logging
import warnings

import numpy as np

from nearfar.report.data import ReportData
from nearfar.report.pictures import sheet
from nearfar.report.text import esc, json_block, plural, section

MOST_POINTS = 5000
COLOURS = 10
_FEWEST_FOR_PACMAP = 100
_MOST_LABELS = 24
_LAYERS = 4
_WIDTH, _HEIGHT, _MARGIN = 1000, 720, 24


def pca(x: np.ndarray) -> tuple[np.ndarray, float]:
    """First two principal components (M, 2), largest coordinate of each axis positive, and their share of variance."""
    x = np.asarray(x, dtype=np.float64)
    x = x - x.mean(0)
    left, s, _ = np.linalg.svd(x, full_matrices=False)
    flat = left[:, :2] * s[:2]
    if flat.shape[1] < 2:
        flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    strongest = flat[np.abs(flat).argmax(0), [0, 1]]
    total = float((s**2).sum())
    return flat * np.where(strongest < 0, -1.0, 1.0), float((s[:2] ** 2).sum() / total) if total > 0 else 1.0


def project(x: np.ndarray, method: str = "auto", seed: int = 0) -> tuple[np.ndarray, str]:
    """Vectors (M, D) to the plane (M, 2), and a sentence that says how.

    method "auto" takes PaCMAP when it is installed and there are enough points, else PCA; a seed gives one map.
    Raises ImportError when "pacmap" is asked for and missing.
    Source: Wang, Huang, Rudin and Shaposhnik 2021, "Understanding how dimension reduction tools work".
    """
    installed = importlib.util.find_spec("pacmap") is not None
    if method == "pacmap" and not installed:
        raise ImportError("this map needs pacmap: pip install 'nearfar[report]'")
    if method == "pca" or (method == "auto" and (not installed or len(x) < _FEWEST_FOR_PACMAP)):
        flat, share = pca(x)
        return flat, f"first two principal components (PCA), {100 * share:.0f}% of the variance"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pacmap

        logging.getLogger("pacmap").setLevel(logging.ERROR)  # it warns that a seed was set, which is the point
        reducer = pacmap.PaCMAP(n_components=2, random_state=seed)
        flat = reducer.fit_transform(np.ascontiguousarray(x, dtype=np.float32), init="pca")
    # Its axes mean nothing, so the map is turned to lie along the page.
    return pca(flat)[0], f"PaCMAP, seed {seed}: neighbourhoods are kept, distances between groups are not"


def place(flat: np.ndarray) -> np.ndarray:
    """Plane coordinates to integer positions in the picture; one scale for both axes, outliers included."""
    low, high = flat.min(0), flat.max(0)
    room = np.array([_WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN])
    span = np.maximum(high - low, 1e-12)
    scale = float((room / span).min()) if (high > low).any() else 1.0
    centred = (flat - (low + high) / 2) * scale * np.array([1.0, -1.0])
    return np.rint(centred + np.array([_WIDTH, _HEIGHT]) / 2).astype(int)


def embedding_map(data: ReportData) -> str:
    """The section with the map; at most 5,000 points, drawn evenly by a fixed seed."""
    if data.embeddings is None or len(data.embeddings) < 2 or np.shape(data.embeddings)[1] == 0:
        return ""
    vectors = np.asarray(data.embeddings, dtype=np.float32)
    good = np.flatnonzero(np.isfinite(vectors).all(1))
    if len(good) < 2:
        return section("map", "Map", "", '<p class="warn">No map: fewer than two embeddings are finite.</p>')
    keep = np.random.default_rng(0).permutation(good)[:MOST_POINTS]
    flat, how = project(vectors[keep], data.projection)
    labels = np.full(len(keep), -1) if data.labels is None else np.asarray(data.labels).astype(int)[keep]
    labels = np.where(labels < 0, -1, labels)
    picture, order = _picture(place(flat), labels, data)
    facts = {"order": order.tolist(), "classes": {int(k): data.class_name(int(k)) for k in np.unique(labels)}}
    image = ""
    if data.names is not None:
        facts["names"] = [str(data.names[index]) for index in keep]
    if data.thumbnails is not None:
        uri, side, across = sheet([data.thumbnails[index] for index in keep])
        facts.update(side=side, across=across)
        image = f'<img class="sheet" hidden src="{uri}" alt="Thumbnails of the points on the map">'
    lead = f"Each point is one item; {esc(how)}."
    if len(good) > len(keep):
        lead += f" Shown: {len(keep):,} of {plural(len(good), 'item')}, drawn at random."
    if data.thumbnails is not None:
        lead += " Point at one to see it."
    note = ""
    if len(good) < len(vectors):
        note = f'<p class="warn">{plural(len(vectors) - len(good), "embedding")} left out: not finite.</p>'
    card = '<div class="card" hidden><i></i><span></span></div>'
    body = f'{note}<div class="map"><div class="plane">{picture}{card}</div>{_legend(labels, data)}</div>{image}'
    return section("map", "Map of the embeddings", lead, body + json_block(facts, "map-data"))


def _picture(points: np.ndarray, labels: np.ndarray, data: ReportData) -> tuple[str, np.ndarray]:
    """The points as a few paths per class; returns the order in which they are drawn.

    Zero-length strokes with round or square caps are the smallest way to write a dot; several layers, so that no class
    covers the others merely because its name comes last.
    """
    paths, order = [], []
    for layer in range(_LAYERS):
        for label in np.unique(labels):
            index = np.flatnonzero(labels == label)[layer::_LAYERS]
            if len(index):
                dots = "".join(f"M{x} {y}h0" for x, y in points[index])
                paths.append(f'<path class="{_mark(int(label))}" data-k="{label}" d="{dots}"/>')
                order.append(index)
    count = len(np.unique(labels[labels >= 0]))
    alt = f"Map of {plural(len(points), 'embedding')}" + (f" in {plural(count, 'class', 'classes')}" if count else "")
    size = "few" if len(points) < 800 else "many"
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{esc(alt)}"'
    svg = f'<svg class="{size}" {box}>{"".join(paths)}</svg>'
    return svg + _names(points, labels, data), np.concatenate(order)


def _names(points: np.ndarray, labels: np.ndarray, data: ReportData) -> str:
    """Class names at the middle of their points, so that colour is not the only key; moved down where two collide."""
    known = [label for label in np.unique(labels) if label >= 0]
    if not 1 < len(known) <= _MOST_LABELS:
        return ""
    middles = sorted((tuple(np.median(points[labels == label], 0)[::-1]), int(label)) for label in known)
    parts: list[str] = []
    taken: list[tuple[float, float]] = []
    for (y, x), label in middles:
        while any(abs(y - v) < 26 and abs(x - u) < 110 for u, v in taken):
            y += 8
        taken.append((x, y))
        spot = f"left:{100 * x / _WIDTH:.1f}%;top:{100 * y / _HEIGHT:.1f}%"
        parts.append(f'<span class="place" data-k="{label}" style="{spot}">{esc(data.class_name(label))}</span>')
    return "".join(parts)


def _mark(label: int) -> str:
    """Ten colours, then the same ten with square marks, then again from the start."""
    return "none" if label < 0 else f"k{label % COLOURS}" + (" square" if label // COLOURS % 2 else "")


def _legend(labels: np.ndarray, data: ReportData) -> str:
    present, counts = np.unique(labels, return_counts=True)
    if (present < 0).all():
        return ""
    order = sorted(zip(present.tolist(), counts.tolist(), strict=True), key=lambda pair: (pair[0] < 0, pair[0]))
    rows = "".join(
        f'<li data-k="{label}" tabindex="0"><span class="mark {_mark(label)}"></span>{esc(data.class_name(label))}'
        f"<small>{count:,}</small></li>"
        for label, count in order
    )
    note = ""
    if len(present) > 2 * COLOURS:
        note = '<p class="note">Colours repeat after 20 classes; point at a name to light up its class.</p>'
    return f'<div class="legend"><ul>{rows}</ul>{note}</div>'
