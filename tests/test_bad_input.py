"""Bad data, bad folders, bad disks, through the command: one clear line, an exit code, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import nearfar as nf
from nearfar.training import load_checkpoint
from saying import Command, Said

FIT = ["--steps", 2, "--batch-size", 8, "--no-evaluate"]


def refused(said: Said, *parts: str) -> None:
    """One line that names what is wrong, and the code of a failure."""
    assert said.code == 2, said
    assert said.err.startswith("nearfar: error: ") and len(said.err.splitlines()) == 1, said.err
    for part in parts:
        assert part in said.err
    assert "Traceback" not in said.err + said.out


def worked(said: Said, *lines: str) -> None:
    """Nothing on stderr but lines that say these things."""
    assert said.code == 0, said
    assert len(said.err.splitlines()) == len(lines), said.err
    for line, part in zip(said.err.splitlines(), lines, strict=True):
        assert part in line


def found(out: Path) -> dict[str, Any]:
    source: dict[str, Any] = yaml.safe_load((out / "config.yaml").read_text())["source"]
    return source


@pytest.fixture(scope="module")
def images(small: Path) -> np.ndarray:
    with np.load(small) as archive:
        rows: np.ndarray = archive["images"][:16]
    return rows


def write(folder: Path, images: np.ndarray) -> Path:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def folder(images: np.ndarray, tmp_path: Path) -> Path:
    """Sixteen good pictures."""
    return write(tmp_path / "pictures", images)


@pytest.fixture
def archive(images: np.ndarray, tmp_path: Path) -> Callable[..., Path]:
    """An archive of sixteen pictures with some arrays replaced or added."""

    def make(**arrays: Any) -> Path:
        np.savez(tmp_path / "data.npz", **{"images": images, **arrays})
        return tmp_path / "data.npz"

    return make


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A run that may be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.fixture
def half_done(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of six steps that broke off after the checkpoint of step 4, with that of step 2 beside it."""
    from nearfar.training import loop

    plain = loop.save_checkpoint

    def breaks(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> Path:
        if step == 6:
            raise RuntimeError("the lights went out")
        return plain(folder, step, state, keep)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="lights"):
        patched.setattr(loop, "save_checkpoint", breaks)
        nf.fit(small, tmp_path / "half", steps=6, batch_size=32, log_every=2, checkpoint_every=2, progress=False)
    return tmp_path / "half"


def same_weights(one: Path, two: Path) -> bool:
    a, b = nf.Run.load(one).method.state_dict(), nf.Run.load(two).method.state_dict()
    return all(bool((a[key] == b[key]).all()) for key in a)


# Data that are not there, or not what they seem


def test_a_path_that_is_not_there(command: Command, trained: Path, tmp_path: Path):
    refused(command("fit", tmp_path / "no", *FIT, "-o", tmp_path / "run"), f"{tmp_path / 'no'}: no such file or folder")
    refused(command("embed", trained, tmp_path / "no", "-o", tmp_path / "v.npz"), f"{tmp_path / 'no'}: no such file")
    refused(command("evaluate", trained, tmp_path / "no"), f"{tmp_path / 'no'}: no such file or folder")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder(command: Command, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    said = command("fit", tmp_path / "empty", *FIT, "--out", tmp_path / "run")
    refused(said, f"{tmp_path / 'empty'}: no images in this folder (it is empty)", ".png")
    assert not (tmp_path / "run").exists()


def test_one_image_is_too_few_to_learn_from_and_enough_to_embed(
    command: Command, trained: Path, images: np.ndarray, tmp_path: Path
):
    one = write(tmp_path / "one", images[:1])
    refused(
        command("fit", one, *FIT, "--out", tmp_path / "run"), "needs at least 2 items", f"{one} gives 1", "add more"
    )
    worked(command("embed", trained, one, "--out", tmp_path / "v.npz"))
    with np.load(tmp_path / "v.npz") as saved:
        assert saved["vectors"].shape[0] == 1 and np.isfinite(saved["vectors"]).all()


def bomb() -> bytes:
    """A PNG of few bytes whose head says 60,000 x 60,000."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_bad_files_among_good_ones_are_passed_over_counted_and_listed(command: Command, folder: Path, tmp_path: Path):
    good = (folder / "00.png").read_bytes()
    bad = {
        "bomb.png": (bomb(), "pixels"),
        "text.png": (b"hello", "not an image in a known format"),
        "truncated.png": (good[: len(good) // 2], "truncated"),
        "zero.png": (b"", "empty file (0 bytes)"),
    }
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    out = tmp_path / "run"
    # Said once, though training and the report both read the data.
    worked(command("fit", folder, *FIT, "--out", out), f"{folder}: 4 of 20 images cannot be read. First: {folder}/bomb")
    source = found(out)
    assert source["items"] == 16 and source["skipped"] == 4
    listed = {Path(item["name"]).name: item["reason"] for item in source["skipped_examples"]}
    page = (out / "report.html").read_text("utf-8")
    for name, (_, reason) in bad.items():
        assert reason in listed[name] and name in page and reason in page
    refused(
        command("fit", folder, *FIT, "--out", tmp_path / "strict", "--set", "policy=refuse"),
        f"{folder}: 4 of 20 images cannot be read",
    )


def test_nothing_but_bad_files(command: Command, tmp_path: Path):
    (tmp_path / "bad").mkdir()
    for name in ("a.png", "b.jpg"):
        (tmp_path / "bad" / name).write_text("hello")
    said = command("fit", tmp_path / "bad", *FIT, "--out", tmp_path / "run")
    refused(said, "none of the 2 images can be read", "a.png: not an image in a known format")


def test_sizes_and_modes_may_be_mixed_and_a_picture_of_one_pixel_too(
    command: Command, trained: Path, folder: Path, tmp_path: Path
):
    from PIL import Image

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 25, 4), dtype=np.uint8)).save(folder / "rgba.png")
    Image.fromarray(rng.integers(0, 255, (300, 20, 3), dtype=np.uint8)).save(folder / "tall.jpg")
    Image.fromarray(rng.integers(0, 65535, (30, 30), dtype=np.uint16)).save(folder / "deep.png")
    Image.fromarray(rng.integers(0, 255, (30, 30), dtype=np.uint8)).convert("P").save(folder / "palette.gif")
    Image.new("1", (1, 1)).save(folder / "dot.png")
    worked(command("fit", folder, *FIT, "--out", tmp_path / "run"))
    assert found(tmp_path / "run")["items"] == 21 and found(tmp_path / "run")["shape"] == [3, 28, 28]
    worked(command("embed", trained, folder, "--out", tmp_path / "v.npz"))
    with np.load(tmp_path / "v.npz") as saved:
        assert saved["vectors"].shape[0] == 21 and np.isfinite(saved["vectors"]).all()


# Tables


def table(folder: Path, content: str, encoding: str = "utf-8") -> Path:
    (folder.parent / "table.csv").write_bytes(content.encode(encoding))
    return folder.parent / "table.csv"


def test_a_table_without_the_column_asked_for(command: Command, folder: Path, tmp_path: Path):
    file = table(folder, "path,kind\n" + "".join(f"pictures/{k:02}.png,a\n" for k in range(16)))
    said = command("fit", file, *FIT, "--label-column", "sort", "--out", tmp_path / "run")
    refused(said, f"{file}: no column 'sort'", "Columns there are: path, kind")


def test_a_table_of_files_that_are_not_there(command: Command, folder: Path, tmp_path: Path):
    rows = "".join(f"pictures/{k:02}.png,{k % 2}\n" for k in range(16))
    file = table(folder, f"path,label\n{rows}pictures/gone.png,1\n")
    worked(command("fit", file, *FIT, "--out", tmp_path / "run"), "1 of 17 images cannot be read")
    assert found(tmp_path / "run")["skipped_examples"][0]["name"].endswith("gone.png")
    file = table(folder, "path,label\nno/a.png,1\nno/b.png,0\n")
    said = command("fit", file, *FIT, "--out", tmp_path / "other")
    refused(said, "none of the 2 images can be read", "no/a.png: no such file or directory")


def test_a_table_that_is_not_utf8(command: Command, folder: Path, tmp_path: Path):
    rows = "".join(f"pictures/{k:02}.png,caf\xe9{k % 2}\n" for k in range(16))
    file = table(folder, "path,label\n" + rows, "latin-1")
    out = tmp_path / "run"
    worked(command("fit", file, *FIT, "--out", out))
    assert found(out)["labelled"] == 16 and len(found(out)["classes"]) == 2
    # Names of classes go into messages, JSON, HTML and archives: none may fall over what is no character.
    options = ["-k", 3, "--per-class", 2, "--json", tmp_path / "f.json", "--report", tmp_path / "p.html"]
    worked(command("evaluate", out, file, *options))
    (tmp_path / "f.json").read_text("utf-8"), (tmp_path / "p.html").read_text("utf-8")
    worked(command("embed", out, file, "--out", tmp_path / "v.npz"))
    one = table(folder, "path,label\n" + rows.replace("\xe91", "\xe90"), "latin-1")
    refused(command("evaluate", out, one, "-k", 3), "all train labels are 'caf")


# Archives


def test_an_archive_with_nan(command: Command, archive: Callable[..., Path], images: np.ndarray, tmp_path: Path):
    values = images.astype(np.float32) / 255
    values[3, 2, 2] = np.nan
    file = archive(images=values)
    refused(command("fit", file, *FIT, "-o", tmp_path / "run"), f"{file}[images]: row 3 holds NaN or infinity; clean")
    assert not (tmp_path / "run").exists()


def test_an_archive_with_too_few_labels(command: Command, archive: Callable[..., Path], tmp_path: Path):
    file = archive(labels=np.zeros(5, int))
    said = command("fit", file, *FIT, "--out", tmp_path / "run")
    refused(said, f"{file}[labels]: shape (5,), but there are 16 images")


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path(os.environ["NEARFAR_TRAP"]).touch, ())


def test_an_archive_of_objects_is_never_unpickled(
    command: Command, archive: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NEARFAR_TRAP", str(tmp_path / "sprung"))
    objects = np.empty(2, dtype=object)
    objects[:] = [Trap(), Trap()]
    file = archive(images=objects)
    refused(command("fit", file, *FIT, "--out", tmp_path / "run"), f"{file}[images]", "never loaded because it can run")
    assert not (tmp_path / "sprung").exists()


def test_an_archive_that_is_cut_off(command: Command, archive: Callable[..., Path], tmp_path: Path):
    file = archive()
    file.write_bytes(file.read_bytes()[:500])
    refused(command("fit", file, *FIT, "--out", tmp_path / "run"), f"{file}: not a NumPy archive, or a damaged one")


# Evaluation


def test_evaluation_needs_labels_of_two_classes(command: Command, trained: Path, archive: Callable[..., Path]):
    file = archive()
    refused(
        command("evaluate", trained, file), f"{file}: no labels, so there is nothing to score against", "give class"
    )
    file = archive(labels=np.zeros(16, int))
    refused(command("evaluate", trained, file), f"{file}: all train labels are '0'", "need at least two classes")


def test_an_evaluation_whose_figures_cannot_be_written_shows_them_first(command: Command, trained: Path, small: Path):
    said = command("evaluate", trained, small, "--probes", "knn", "-k", 5, "--json", small / "figures.json")
    refused(said, f"{small / 'figures.json'} cannot be written: {small} is not a folder; choose")
    assert "knn_accuracy against raw pixels" in said.out


# Run folders


def test_a_folder_that_holds_a_run_is_not_overwritten(command: Command, trained: Path, small: Path):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    said = command("fit", small, *FIT, "--out", trained)
    refused(said, f"{trained} already holds a run; continue it with: nearfar fit --resume {trained}, or choose another")
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "results.json", "report.html"])
def test_files_that_a_run_would_overwrite_are_kept(name: str, command: Command, small: Path, tmp_path: Path):
    (tmp_path / name).write_text("mine")
    said = command("fit", small, *FIT, "--out", tmp_path)
    refused(said, f"{tmp_path} already holds {name}, which a run would overwrite; choose another folder")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_report_without_the_data(command: Command, folder: Path, tmp_path: Path):
    out = tmp_path / "run"
    worked(command("fit", folder, *FIT, "--out", out))
    (out / "report.html").unlink()
    shutil.rmtree(folder)
    worked(command("report", out), f"no figures, map or neighbours, since the data are gone: {folder}")
    assert "simclr on pictures" in (out / "report.html").read_text("utf-8")


def test_resume_of_what_is_not_a_run(command: Command, tmp_path: Path):
    for place in (tmp_path, tmp_path / "nowhere"):
        refused(command("fit", "--resume", place), f"{place} is not a run: it has no config.yaml. Make one with")


def test_resume_after_the_data_have_changed(command: Command, folder: Path, tmp_path: Path):
    out = tmp_path / "run"
    worked(command("fit", folder, *FIT, "--out", out))
    before = {path: path.read_bytes() for path in (out / "checkpoints").iterdir()}
    (folder / "00.png").unlink()
    refused(
        command("fit", "--resume", out), f"the run in {out} cannot be resumed", "the data changed", "Put these back"
    )
    assert before == {path: path.read_bytes() for path in (out / "checkpoints").iterdir()}
    # Other sizes make another shape; the message stays the same.
    write(folder, np.zeros((16, 40, 40), dtype=np.uint8))
    refused(command("fit", "--resume", out), "the data changed")
    shutil.rmtree(folder)
    refused(command("fit", "--resume", out), f"{folder} does not exist; put them back to resume")


def test_resume_with_other_settings(command: Command, copy: Path):
    refused(
        command("fit", "--resume", copy, "--lr", 0.1), "--resume continues a run with its own settings; leave out lr"
    )
    file = copy / "config.yaml"
    file.write_text(file.read_text().replace("temperature: 0.2", "temperature: 0.3").replace("lr: 0.001", "lr: 0.002"))
    refused(
        command("fit", "--resume", copy),
        "method_options.temperature was 0.2, now 0.3",
        "settings.lr was 0.001, now 0.002",
    )


@pytest.mark.parametrize("content", [b"{[", b"\xff\xfe\x00", b"", b"format: 1\n", b"format: 2\n", b"- a\n"])
def test_a_damaged_configuration(content: bytes, command: Command, copy: Path, small: Path):
    file = copy / "config.yaml"
    file.write_bytes(content)
    for arguments in (["fit", "--resume", copy], ["embed", copy, small], ["evaluate", copy, small], ["report", copy]):
        refused(command(*arguments), str(file))
    assert file.read_bytes() == content


def test_damaged_metrics(command: Command, copy: Path):
    (copy / "metrics.jsonl").write_bytes((copy / "metrics.jsonl").read_bytes() + b"{nonsense\n")
    refused(command("report", copy), f"{copy / 'metrics.jsonl'} is damaged", "remove the lines that are not JSON")


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_damaged_checkpoint_costs_steps_and_a_warning(
    ending: str, command: Command, half_done: Path, trained: Path, small: Path, tmp_path: Path
):
    (newest,) = (half_done / "checkpoints").glob(f"step-00000004*.{ending}")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    told = f"nearfar: {newest} is damaged"
    said = command("embed", half_done, small, "--out", tmp_path / "v.npz")
    worked(said, told)
    assert "using the checkpoint of step 2 instead" in said.err
    worked(command("fit", "--resume", half_done, "--no-evaluate"), told)
    assert same_weights(half_done, trained)


def test_all_checkpoints_damaged(command: Command, half_done: Path, small: Path, tmp_path: Path):
    for path in (half_done / "checkpoints").glob("*.json"):
        path.write_bytes(path.read_bytes()[:100])
    for arguments in (["fit", "--resume", half_done], ["embed", half_done, small, "--out", tmp_path / "v.npz"]):
        refused(command(*arguments), f"no checkpoint in {half_done / 'checkpoints'} can be read", "step-00000004.json")


# Disks


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(
    command: Command, small: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from nearfar.training import checkpoint

    plain = checkpoint.write_whole

    def fills_up(path: Path, content: bytes) -> None:
        if "step-00000004" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        plain(path, content)

    out = tmp_path / "run"
    options = ["--steps", 6, "--batch-size", 32, "--set", "log_every=2", "--set", "checkpoint_every=2"]
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "write_whole", fills_up)
        said = command("fit", small, *options, "--no-evaluate", "--out", out)
    refused(
        said,
        f"the checkpoint of step 4 cannot be written to {out / 'checkpoints'}: No space left on device",
        "step-00000002.json is whole: make room and resume",
    )
    state = load_checkpoint(out / "checkpoints")
    assert state is not None and state.step == 2
    worked(command("fit", "--resume", out, "--no-evaluate"))
    assert same_weights(out, trained)


def places(tmp_path: Path) -> list[Path]:
    """Folders in which nothing can be made: below a file, in /proc, and (except for root) without permission."""
    file = tmp_path / "file"
    file.write_text("a file")
    closed = tmp_path / "closed"
    closed.mkdir(exist_ok=True)
    closed.chmod(0o500)
    below = [file / "run"]
    if Path("/proc/self").exists():
        below.append(Path("/proc/nearfar"))
    return below if os.geteuid() == 0 else [*below, closed / "run"]


def test_a_folder_that_cannot_be_written(command: Command, trained: Path, small: Path, folder: Path, tmp_path: Path):
    for place in places(tmp_path):
        refused(command("fit", small, *FIT, "--out", place), str(place), "cannot be written", "choose another place")
        refused(command("fit", folder, *FIT, "--out", place), str(place))
        refused(command("embed", trained, small, "--out", place / "v.npz"), str(place / "v.npz"), "cannot be written")
        refused(command("report", trained, "--out", place / "page.html"), str(place))


# Settings that go wrong only when run


def test_a_batch_larger_than_the_data_is_all_of_the_data(
    command: Command, archive: Callable[..., Path], tmp_path: Path
):
    out = tmp_path / "run"
    worked(command("fit", archive(), "--steps", 2, "--batch-size", 512, "--no-evaluate", "--out", out))
    record = json.loads((out / "checkpoints" / "step-00000002.json").read_text())
    assert record["state"]["identity"]["sampler"]["batch_size"] == 16


def test_an_absurd_learning_rate_ends_in_a_clear_line(command: Command, archive: Callable[..., Path], tmp_path: Path):
    out = tmp_path / "run"
    said = command("fit", archive(), "--steps", 60, "--batch-size", 16, "--lr", 1e6, "--no-evaluate", "--out", out)
    refused(said, "is nan; its rows are listed in", "Lower the learning rate")
    rows = json.loads((out / "diverged.json").read_text())
    assert len(rows["index"]) == 16
    assert load_checkpoint(out / "checkpoints") is not None
