"""Real colour pictures with categories from packages: clip art, emoji and icons, each as one .npz archive.

    apt-get download openclipart-png oxygen-icon-theme        (Debian; dpkg -x FILE.deb FOLDER unpacks one)
    npm pack emoji-datasource-google                          (tar xzf FILE.tgz -C FOLDER)

Run: python -m benchmarks.pictures clipart|emoji|icons FOLDER OUT.npz [side in pixels]
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

LEAST = 20  # pictures of a category; smaller ones have too few to be found


def clip_art(folder: Path) -> dict[Path, str]:
    """Open Clip Art: the category is the first folder. Not taken: 1375 near copies of a star, and "unsorted"."""
    root = next(folder.glob("**/openclipart/png"))
    found = {path: path.relative_to(root).parts for path in sorted(root.rglob("*.png"))}
    left_out = (("shapes", "stars"), ("unsorted", "duplicates"))
    return {path: parts[0] for path, parts in found.items() if parts[:2] not in left_out and parts[0] != "unsorted"}


def emoji(folder: Path) -> dict[Path, str]:
    """Emoji as Google draws them, without skin tones; "Component" (hair and skin samples) is not taken."""
    images = next(folder.glob("**/img/google/64"))
    entries = json.loads(next(folder.glob("**/emoji.json")).read_text())
    named = {images / entry["image"]: entry["category"] for entry in entries if entry["category"] != "Component"}
    return {path: category for path, category in named.items() if path.is_file()}


def icons(folder: Path) -> dict[Path, str]:
    """Oxygen icons, each in its largest size up to 128 pixels: the category is what the icon is for."""
    best: dict[str, Path] = {}
    for side in (32, 48, 64, 128):
        for path in sorted(next(folder.glob(f"**/oxygen/base/{side}x{side}")).glob("*/*.png")):
            best[f"{path.parent.name}/{path.name}"] = path
    return {path: name.partition("/")[0] for name, path in sorted(best.items())}


KINDS = {"clipart": clip_art, "emoji": emoji, "icons": icons}


def write(kind: str, folder: Path, out: Path, side: int) -> None:
    """Decode the pictures as nearfar does and save them with their categories."""
    from nearfar.modalities.images.decode import Unreadable, read_image

    labelled = KINDS[kind](folder)
    sizes = Counter(labelled.values())
    images, labels = [], []
    for path, label in labelled.items():
        if sizes[label] >= LEAST:
            try:
                images.append(read_image(path, side, 3))
                labels.append(label)
            except Unreadable as error:
                print(f"{path.name}: {error}")
    np.savez(out, images=np.stack(images), labels=np.array(labels))
    print(f"{kind}: {len(images)} pictures, {len(set(labels))} categories: {out}")


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 64)
