"""Make src/nearfar/data/bundled/fashion.npz from the four idx files of Fashion-MNIST.

Usage: python tools/bundle_fashion.py [FOLDER_WITH_IDX_GZ_FILES]
The default folder is where the Debian package dataset-fashion-mnist puts them.
"""

from __future__ import annotations

import gzip
import sys
import zipfile
from pathlib import Path

import numpy as np

from nearfar.data.split import few_shot

TARGET = Path(__file__).parents[1] / "src/nearfar/data/bundled/fashion.npz"
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
PER_CLASS = {"train": 1000, "test": 500}
SEED = 0


def read_idx(path: Path) -> np.ndarray:
    """Read one idx file of bytes: magic (0, 0, 8, number of axes), sizes as big-endian int32, then the values."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\x00\x00\x08":
        raise SystemExit(f"{path}: not an idx file of bytes")
    axes = raw[3]
    shape = np.frombuffer(raw, ">i4", axes, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def main(folder: Path) -> None:
    """Choose the same number of rows from each class and write one file, the same bytes every time."""
    columns: dict[str, np.ndarray] = {"classes": np.array(CLASSES)}
    for part, stem, prefix in (("train", "train", ""), ("test", "t10k", "test_")):
        images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{stem}-labels-idx1-ubyte.gz")
        chosen = few_shot(labels.astype(np.int64), PER_CLASS[part], SEED, CLASSES)
        columns[f"{prefix}images"] = images[chosen]
        columns[f"{prefix}labels"] = labels[chosen]
    with zipfile.ZipFile(TARGET, "w") as archive:
        for name, column in columns.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # its fixed date keeps the file reproducible
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, column, allow_pickle=False)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist"))
