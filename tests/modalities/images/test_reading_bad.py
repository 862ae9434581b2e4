"""Bad input: what is skipped, what is refused, and what the message says."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nearfar.errors import ConfigError, DataError
from nearfar.modalities.images import decode, pixels
from nearfar.modalities.images.reading import read


def png(path, seed: int = 0, side: int = 16):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return path


def huge_png(path, width: int, height: int) -> None:
    """A PNG whose head promises many pixels and whose body has none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    path.write_bytes(body)


@pytest.fixture
def mixed(tmp_path):
    """Two good images among all kinds of broken ones."""
    root = tmp_path / "mixed"
    png(root / "good1.png", 1)
    png(root / "good2.png", 2)
    (root / "empty.png").touch()
    (root / "junk.jpg").write_bytes(b"this is text")
    png(root / "cut.png", 3, 64)
    os.truncate(root / "cut.png", (root / "cut.png").stat().st_size // 2)
    Image.effect_noise((64, 64), 50).save(root / "cut.jpg")
    os.truncate(root / "cut.jpg", (root / "cut.jpg").stat().st_size // 2)
    huge_png(root / "large.png", 10_001, 10_000)
    huge_png(root / "larger.png", 60_000, 60_000)
    (root / "dangling.png").symlink_to(root / "nowhere")
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(root / "float.tif")
    return root


REASONS = {
    "empty.png": "empty file (0 bytes)",
    "junk.jpg": "not an image in a known format",
    "cut.png": "truncated",
    "cut.jpg": "truncated",
    "large.png": "10001 x 10000 pixels, more than the 100,000,000 allowed",
    "larger.png": "more than the 100,000,000 pixels allowed",
    "dangling.png": "no such file or directory",
    "folder.png": "a folder, not an image file",
    "pipe.png": "not a regular file",
    "float.tif": "floating-point pixels without a known range",
}


def test_broken_images_are_skipped_and_listed(mixed, caplog, recwarn):
    source = read(mixed)
    assert [os.path.basename(name) for name in source.names] == ["good1.png", "good2.png"]
    assert source.ids.tolist() == [0, 1]
    found = {os.path.basename(item.name): item.reason for item in source.skipped}
    assert found.keys() == REASONS.keys()
    for name, reason in REASONS.items():
        assert reason in found[name], name
    assert source.describe()["skipped"] == len(REASONS)
    assert f"{mixed}: 10 of 12 images cannot be read. First: " in caplog.text
    assert not [warning for warning in recwarn.list if "Decompression" in str(warning.category)]


def test_broken_images_are_refused_on_request(mixed):
    with pytest.raises(DataError, match=r"10 of 12 images cannot be read\. First: .*folder\.png.*policy='skip'"):
        read(mixed, policy="refuse")
    for name in REASONS:
        (mixed / name).rmdir() if name == "folder.png" else (mixed / name).unlink()
    assert len(read(mixed, policy="refuse")) == 2


def test_the_limit_is_checked_before_decoding(mixed, monkeypatch):
    opened = []
    original = pixels.read_image
    monkeypatch.setattr(pixels, "read_image", lambda path, *rest: opened.append(path.name) or original(path, *rest))
    read(mixed)
    assert "good1.png" in opened and not {"large.png", "larger.png"} & set(opened)


def test_the_limit_is_inclusive(tmp_path, monkeypatch):
    png(tmp_path / "a.png", side=16)
    monkeypatch.setattr(decode, "MAX_PIXELS", 256)
    assert len(read(tmp_path)) == 1
    monkeypatch.setattr(decode, "MAX_PIXELS", 255)
    with pytest.raises(DataError, match="16 x 16 pixels, more than the 255 allowed"):
        read(tmp_path)


def test_all_broken(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").write_bytes(b"?")
    with pytest.raises(DataError, match=r"none of the 2 images can be read\. First: .*a\.png: empty file"):
        read(tmp_path)


def test_all_broken_beyond_the_head(tmp_path):
    png(tmp_path / "a.png", side=64)
    os.truncate(tmp_path / "a.png", 3000)
    with pytest.raises(DataError, match=r"none of the 1 images can be read\. First: .*a\.png: .*truncated"):
        read(tmp_path)


def test_a_class_without_readable_images_is_no_class(tmp_path):
    png(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "b.png").touch()
    assert read(tmp_path).classes == ["cat"]


def test_broken_exif_does_not_lose_the_picture(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\0\0")
    assert len(read(tmp_path)) == 1


def test_permission_denied(tmp_path, monkeypatch):
    png(tmp_path / "a.png", 1)
    secret = png(tmp_path / "b.png", 2)
    if os.geteuid() == 0:  # root may read everything
        original = decode._open

        def refuse(path, *more):
            if path == secret:
                raise PermissionError(13, "Permission denied", str(path))
            return original(path, *more)

        monkeypatch.setattr(decode, "_open", refuse)
    else:
        secret.chmod(0)
    (item,) = read(tmp_path).skipped
    assert (item.name, item.reason) == (str(secret), "permission denied")


def test_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    png(tmp_path / "open" / "a.png")
    png(tmp_path / "shut" / "b.png")
    original = os.scandir

    def scandir(path):
        if os.path.basename(path) == "shut":
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        source = read(tmp_path)
        assert len(source) == 1
        assert source.skipped[0].reason == "folder not readable: Permission denied"
        with pytest.raises(DataError, match="1 of 2 images cannot be read"):
            read(tmp_path, policy="refuse")


def test_missing_path(tmp_path):
    with pytest.raises(DataError, match=r"nothing/here: no such file or folder"):
        read(tmp_path / "nothing" / "here")


def test_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"no images in this folder \(it is empty\)\. Files that are read end in \.png"):
        read(tmp_path)


def test_folder_without_images(tmp_path):
    for name in ("a.txt", "b.txt", "c.heic", "README", ".hidden.png"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"it holds 1 x \.heic, 2 x \.txt, 1 x no extension\)\. Files .* \.png \.jpg"):
        read(tmp_path)


def test_unknown_kind(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(DataError, match=r"a\.mp4: cannot read images from this\. Give a folder, a table \(\.csv"):
        read(tmp_path / "a.mp4")


def test_no_test_part(tmp_path):
    png(tmp_path / "a.png")
    with pytest.raises(DataError, match="there is no test part"):
        read(tmp_path, part="test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size must be 1 pixel or more, not 0"),
        ({"channels": 2}, r"channels must be 1 \(grey\) or 3 \(RGB\), not 2"),
        ({"policy": "ignore"}, "policy must be one of skip, refuse, not 'ignore'"),
        ({"duplicates": "x"}, "duplicates must be one of same-id, own-id, not 'x'"),
        ({"part": "dev"}, "part must be one of train, test, not 'dev'"),
    ],
)
def test_settings(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, **settings)


def test_more_than_fits_in_memory(tmp_path, monkeypatch):
    png(tmp_path / "d" / "a.png", 1)
    monkeypatch.setattr(pixels, "MEMORY_LIMIT", 767)
    with pytest.raises(DataError, match=r"1 images of 16 x 16 take .* Give a folder with cache=, or a smaller size="):
        read(tmp_path / "d")
    assert len(read(tmp_path / "d", size=15)) == 1
    assert len(read(tmp_path / "d", cache=tmp_path / "cache")) == 1


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("path,label\na.png,x\n", {"path_column": "where"}, r"no column 'where' \(path_column\).* are: path, label"),
        ("path,label\na.png,x\n", {"label_column": "kind"}, r"no column 'kind' \(label_column\).* are: path, label"),
        ("where,label\na.png,x\n", {}, r"no column of file names: none of path, .* are: where, label\. Name one with"),
        ("path,label\n", {}, "a header but no rows"),
        ("", {}, "the table is empty"),
        ("path\n,\n ,\n", {}, r"none of the 2 images can be read\. First: .*t\.csv\[0\]: the row names no file"),
        ("path\nb.png\n", {}, r"none of the 1 images can be read\. First: .*b\.png: no such file"),
        ("path\n" + "x" * 200_000 + "\n", {}, r"not a readable table: field larger than field limit"),
    ],
)
def test_bad_tables(tmp_path, content, settings, message):
    png(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=rf"(?s)(t\.csv: )?{message}"):
        read(tmp_path / "t.csv", **settings)


def test_rows_of_a_table_that_lead_nowhere_are_skipped(tmp_path):
    png(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("label,path\nx\ny,a.png\nz,.\nz,gone.png\n")
    source = read(tmp_path / "t.csv")
    assert source.classes == ["y"] and len(source) == 1
    assert [item.reason for item in source.skipped] == [
        "the row names no file",
        "a folder, not an image file",
        "no such file or directory",
    ]


def test_bad_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "t.parquet"
    file.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet file"):
        read(file)
    pq.write_table(pa.table({"n": [1]}), file)
    with pytest.raises(DataError, match=r"t\.parquet: no column of file names.*Columns there are: n"):
        read(file)
    pq.write_table(pa.table({"image": [{"bytes": b"x", "path": "a.png"}]}), file)
    with pytest.raises(DataError, match=r"t\.parquet\[0\]: a dict, not a file name"):
        read(file)
