"""Many image files to one array of pixels: in parallel, and kept in a cache folder when there is one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearfar.data.source import Skipped, row_digests
from nearfar.errors import DataError
from nearfar.modalities.images.decode import Header, Unreadable, pillow, read_header, read_image
from nearfar.modalities.images.files import Listing

LARGEST_SIZE = 224  # the size chosen when none is given is at most this
MEMORY_LIMIT = 4 * 2**30  # bytes of pixels kept in memory when there is no cache folder
FORMAT = 1  # raise when the pixels made from the same files change
CHUNK = 64


@dataclass
class Pixels:
    """Decoded files.

    Attributes:
        array: (M, C, S, S) uint8, in memory or memory-mapped.
        kept: (N,) which rows of `array` hold an image; row i belongs to file `files[i]`.
        files: (N,) positions in the listing.
        digests: (M, 16) hash of each row.
        reasons: why a file could not be read, by its position in the listing.
    """

    array: np.ndarray
    kept: np.ndarray
    files: np.ndarray
    digests: np.ndarray
    reasons: dict[int, str]


def read_pixels(
    listing: Listing, *, size: int | None, channels: int | None, cache: Path | None, progress: bool
) -> Pixels:
    """Decode the files of a listing, or take them from the cache if neither files nor settings have changed.

    Files count as unchanged when their names, sizes, times of change and readability are. `size` None means the
    median of the shorter sides, at most `LARGEST_SIZE`; `channels` None means 1 if every image is grey, else 3.

    Raises:
        DataError: no file can be read, or more than `MEMORY_LIMIT` bytes of pixels without a cache folder.
    """
    if cache is None:
        return _decode(listing, size, channels, None, progress)
    entry = cache / _key(listing, size, channels)
    if entry.exists():
        try:
            return _load(entry)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):  # a damaged entry is made again
            shutil.rmtree(entry, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", suffix=".partial", dir=cache))
    try:
        pixels = _decode(listing, size, channels, workshop / "pixels.npy", progress)
        _save(pixels, workshop)
        try:
            os.rename(workshop, entry)  # the entry appears whole or not at all
        except OSError:
            if not entry.is_dir():
                raise
        return _load(entry)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _decode(listing: Listing, size: int | None, channels: int | None, file: Path | None, progress: bool) -> Pixels:
    headers: list[Header | None] = [None] * len(listing.files)
    reasons: dict[int, str] = {}

    def look(position: int) -> None:
        headers[position] = read_header(listing.files[position])

    _in_parallel(look, range(len(listing.files)), reasons, "looking at files", progress)
    good = [(position, header) for position, header in enumerate(headers) if header is not None]
    if not good:
        raise nothing_readable(skipped(listing, reasons))
    if size is None:
        shorter = [min(header.width, header.height) for _, header in good]
        size = max(1, min(int(np.median(shorter)), LARGEST_SIZE))
    if channels is None:
        channels = 1 if all(header.grey for _, header in good) else 3

    files = np.array([position for position, _ in good])
    array = _room((len(files), channels, size, size), file)
    digests = np.zeros((len(files), 16), dtype=np.uint8)
    row_of = {int(position): row for row, position in enumerate(files)}

    def decode(position: int) -> None:
        row = row_of[position]
        array[row] = read_image(listing.files[position], size, channels)
        digests[row] = row_digests(array[row : row + 1])[0]

    _in_parallel(decode, files.tolist(), reasons, "reading images", progress)
    kept = np.array([row for row, position in enumerate(files.tolist()) if position not in reasons], dtype=np.int64)
    if not len(kept):
        raise nothing_readable(skipped(listing, reasons))
    return Pixels(array, kept, files[kept], digests, reasons)


def skipped(listing: Listing, reasons: dict[int, str]) -> list[Skipped]:
    """All that cannot be read of a listing: what was known before, then what the files showed, in order."""
    return [*listing.skipped, *(Skipped(listing.names[position], reasons[position]) for position in sorted(reasons))]


def nothing_readable(items: Sequence[Skipped]) -> DataError:
    """The error for a listing of which no file can be read."""
    first = "; ".join(f"{item.name}: {item.reason}" for item in items[:3])
    return DataError(f"none of the {len(items)} images can be read. First: {first}")


def _room(shape: tuple[int, ...], file: Path | None) -> np.ndarray:
    if file is not None:
        array = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and would be a crash on writing to the map
            with open(file, "r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        return array
    needed = int(np.prod(shape, dtype=np.int64))
    if needed > MEMORY_LIMIT:
        raise DataError(
            f"{shape[0]} images of {shape[2]} x {shape[3]} take {needed / 2**30:.1f} GiB, more than the "
            f"{MEMORY_LIMIT / 2**30:.1f} GiB kept in memory. Give a folder with cache=, or a smaller size="
        )
    return np.empty(shape, dtype=np.uint8)


def _in_parallel(
    work: Callable[[int], None], positions: Sequence[int], reasons: dict[int, str], what: str, progress: bool
) -> None:
    """Run `work` over positions in threads (Pillow decodes outside the interpreter lock); note what is unreadable."""
    from tqdm import tqdm

    pillow()  # registers formats once, before the threads start

    def run(chunk: Sequence[int]) -> dict[int, str]:
        failed = {}
        for position in chunk:
            try:
                work(position)
            except Unreadable as error:
                failed[position] = str(error)
        return failed

    chunks = [positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK)]
    pool = ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1))
    bar = tqdm(total=len(positions), desc=what, unit="img", leave=False, disable=None if progress else True)
    try:
        with warnings.catch_warnings():
            # Odd metadata and large sizes; what matters of it is checked and becomes a reason.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            futures = {pool.submit(run, chunk): len(chunk) for chunk in chunks}
            for future in as_completed(futures):
                reasons.update(future.result())
                bar.update(futures[future])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        bar.close()


def _key(listing: Listing, size: int | None, channels: int | None) -> str:
    common = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in listing.files])
    digest = hashlib.sha256(json.dumps([FORMAT, size, channels]).encode())
    for file in listing.files:
        try:
            status = os.stat(file)
            state = [status.st_size, status.st_mtime_ns, os.access(file, os.R_OK)]
        except OSError:
            state = []
        name = os.path.relpath(os.path.abspath(file), common)  # so that a moved folder keeps its entry
        digest.update(json.dumps([name, *state]).encode())
    return digest.hexdigest()[:32]


def _save(pixels: Pixels, folder: Path) -> None:
    if isinstance(pixels.array, np.memmap):
        pixels.array.flush()
    np.savez(folder / "rows.npz", kept=pixels.kept, files=pixels.files, digests=pixels.digests)
    (folder / "reasons.json").write_text(json.dumps(sorted(pixels.reasons.items())), encoding="utf-8")


def _load(entry: Path) -> Pixels:
    array = np.load(entry / "pixels.npy", mmap_mode="r", allow_pickle=False)
    with np.load(entry / "rows.npz", allow_pickle=False) as rows:
        kept, files, digests = rows["kept"], rows["files"], rows["digests"]
    reasons = {int(position): str(reason) for position, reason in json.loads((entry / "reasons.json").read_bytes())}
    if len(digests) != len(array):
        raise ValueError("the parts of the entry do not belong together")
    return Pixels(array, kept, files, digests, reasons)
