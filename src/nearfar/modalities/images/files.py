"""Image files as they lie on disk."""

from __future__ import annotations

from pathlib import Path

from nearfar.modalities import folders

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
Listing = folders.Listing


def list_folder(folder: Path, levels: str = "label") -> Listing:
    """The images below a folder; see `folders.list_folder`."""
    return folders.list_folder(folder, EXTENSIONS, "image", levels)
