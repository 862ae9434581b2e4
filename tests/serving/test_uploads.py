"""Files that are no good picture are refused with a status of 4xx that says why, and nothing is written."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving_samples import Serve

from nearfar.store import Store


def png(width: int, height: int, data: bytes | None = None, depth: int = 8) -> bytes:
    """A PNG that says it has so many pixels, whatever is in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def saved(kind: str, side: int = 40, **how: object) -> bytes:
    """A picture of noise in some format."""
    rows = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rows).save(buffer, kind, **how)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/passwd.png", b"\0" * 5_000_000)
    return buffer.getvalue()


def frames() -> bytes:
    """Many frames in a small file."""
    buffer = io.BytesIO()
    blank = Image.new("L", (500, 500))
    blank.save(buffer, "GIF", save_all=True, append_images=[blank] * 50)
    return buffer.getvalue()


BAD = {
    "nothing": b"",
    "text": b"not a picture",
    "a page": b"<html><script>alert(1)</script></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) run\n",
    "zip": zipped(),
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix",
    "huge": png(60_000, 60_000),
    "huge in one direction": png(2**31 - 1, 1),
    "no side": png(0, 10),
    "just too large": png(6400, 6400, zlib.compress(bytes(6401 * 6400), 9)),  # a bomb: 40 kB that become 41 MB
    "less data than it says": png(4000, 4000),
    "cut off": saved("PNG")[:200],
    "cut off JPEG": saved("JPEG")[:300],
    "head alone": saved("JPEG")[:20],
    "PNG with bytes changed": bytes(b ^ 255 if 60 < i < 90 else b for i, b in enumerate(saved("PNG"))),
    "broken WebP": saved("WEBP")[:-200] + b"\0" * 100,
    "TIFF with wild offsets": b"II*\0" + struct.pack("<I", 2**31),
    "BMP that says it is huge": saved("BMP")[:18] + struct.pack("<ii", 100_000, 100_000) + saved("BMP")[26:],
    "PPM that says it is huge": b"P6 99999999 99999999 255\n" + b"\0" * 100,
    "GIF without frames": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0;",
    "floats without a range": b"Pf\n4 4\n-1.0\n" + np.full(16, np.nan, np.float32).tobytes(),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_good_picture_is_refused(what: str, pictures: Store, served: Serve):
    client = served(pictures)
    for path in ("/search/file", "/embed/file"):
        answer = client.post(path, content=BAD[what])
        assert answer.status_code == 422, answer.text
        assert set(answer.json()) == {"error"} and "cannot be read: " in answer.json()["error"]
        assert "0x" not in answer.text and "Error" not in answer.text.replace("UnidentifiedImageError", "Error")


def test_good_pictures_of_every_format_pass(pictures: Store, served: Serve):
    client = served(pictures)
    good = [saved(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")]
    for content in (*good, frames(), png(1, 1, zlib.compress(b"\0\0"))):
        answer = client.post("/search/file", content=content, params={"k": 1})
        assert answer.status_code == 200 and len(answer.json()["results"]) == 1


def test_random_bytes_behind_good_heads_never_end_in_an_error_of_the_server(pictures: Store, served: Serve):
    client, rng = served(pictures), np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        whole = np.frombuffer(saved(kind), np.uint8)
        for _ in range(8):
            broken = whole.copy()
            places = rng.integers(4, len(whole), 10)
            broken[places] = rng.integers(0, 256, 10)
            assert client.post("/search/file", content=broken.tobytes()).status_code in (200, 422)


def test_forms_and_names_of_files_are_not_taken(pictures: Store, served: Serve):
    client = served(pictures)
    form = client.post("/search/file", files={"file": ("../../../etc/cron.d/x", saved("PNG"), "image/png")})
    assert form.status_code == 415 and "send the bytes of a file" in form.json()["error"]
    for kind in ("text/html", "application/json", "multipart/form-data; boundary=x", "x" * 5000):
        assert client.post("/embed/file", content=b"x", headers={"content-type": kind}).status_code == 415
    for path in ("/..%2f..%2fetc/passwd", "/../../etc/passwd", "/%2e%2e/etc/passwd", "/static/../../etc/passwd"):
        assert client.get(path).status_code == 404
    for one in ("../../etc/passwd", "/etc/passwd", "%00", "\0", "'; DROP TABLE rows; --", "a' OR '1'='1"):
        assert client.get("/row", params={"id": one}).status_code == 404


def test_nothing_is_written(pictures: Store, served: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(path for path in pictures.path.rglob("*"))
    client = served(pictures)
    large = saved("PNG", side=1200)  # larger than what servers keep in memory of forms
    assert len(large) > 2_000_000
    assert client.post("/search/file", content=large).status_code == 200
    assert client.post("/search/file", files={"file": ("x.png", large, "image/png")}).status_code == 415
    assert list(tmp_path.iterdir()) == [] and sorted(path for path in pictures.path.rglob("*")) == before
