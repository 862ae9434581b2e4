"""Lines of text from plain and compressed files in any encoding; what cannot be decoded is named by its line."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nearfar.errors import ConfigError, DataError

from ..archives import printable
from .findings import NUL, Findings

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
MARKS = (  # the longer ones first: that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
HEAD = 1 << 16


def lines(path: Path, encoding: str | None, found: Findings, newline: str | None = None) -> Iterator[str]:
    """The lines of a file with their ends.

    A byte order mark says the encoding; without one it is `encoding`, or UTF-8. With "/replace" behind the encoding, as
    in "utf-8/replace", a line with bytes that cannot be decoded is taken with � in their place, and noted. NUL
    characters, which no tokeniser and no table expects, are left out, which is noted too.

    Args:
        newline: None makes every end of a line "\\n", "" leaves it as it is.

    Raises:
        DataError: unreadable, damaged, or not in this encoding; names the line.
    """
    where = printable(path)
    codec, _, handling = (encoding or "utf-8").partition("/")
    check_encoding(encoding)
    with reading(path), open_bytes(path) as stream:
        head = stream.peek(HEAD)[:HEAD]
        mark = next((name for mark, name in MARKS if head.startswith(mark)), None)
        codec = mark or codec
        if mark is None and encoding is None and head.count(0) > len(head) / 8:
            raise DataError(
                f"{where}: not a text file, or UTF-16 without a byte order mark; for that say encoding=utf-16-le"
            )
        for number, line in enumerate(io.TextIOWrapper(stream, codec, "surrogateescape", newline), 1):
            if "\0" in line:
                found.note(NUL, f"{where}:{number}")
                line = line.replace("\0", "")
            fault = None if line.isascii() else _fault(line)
            if fault is None:
                yield line
            elif handling:
                found.note("bytes that cannot be decoded, read as �", f"{where}:{number}")
                yield line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            else:
                raise DataError(
                    f"{where}:{number}: not {codec.upper()}: {fault}. Say which encoding the file is in "
                    f"(encoding=latin-1, say), or take such bytes as � (encoding={codec}/replace)"
                )


def check_encoding(encoding: str | None) -> None:
    """Refuse an encoding that nobody knows."""
    codec, slash, handling = (encoding or "utf-8").partition("/")
    try:
        known = codecs.lookup(codec)._is_text_encoding
    except LookupError:
        known = False
    if not known or handling not in ("", "replace") or (slash and not handling):
        raise ConfigError(f"encoding = {encoding!r}: no such encoding; write utf-8, latin-1, utf-16, utf-8/replace ...")


def open_bytes(path: Path) -> io.BufferedReader:
    """The bytes of a file, unpacked where its name says that it is compressed."""
    opened: dict[str, Callable[[Path], Any]] = {
        ".gz": gzip.GzipFile,
        ".bz2": bz2.BZ2File,
        ".xz": lzma.LZMAFile,
        ".zst": _zstd,
    }
    unpacked = opened.get(path.suffix.lower())
    return io.BufferedReader(io.FileIO(path) if unpacked is None else unpacked(path), HEAD)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Says which file it is that cannot be read."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{printable(path)}: damaged, or not compressed as its name says: {error}") from error
    except UnicodeError as error:
        raise DataError(f"{printable(path)}: not the encoding that it begins with: {error}") from error
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error


def _fault(line: str) -> str | None:
    """What is wrong with the bytes of a line, if anything is."""
    try:
        line.encode()
    except UnicodeEncodeError as error:
        byte = ord(line[error.start]) - 0xDC00
        return f"byte 0x{byte:02x} after {line[max(0, error.start - 20) : error.start]!r}"
    return None


def _zstd(path: Path) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("reading .zst files needs pyarrow: pip install 'nearfar[text]'") from error
    return pyarrow.input_stream(str(path), compression="zstd")
