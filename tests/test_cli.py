"""The command as a new user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from nearfar import methods, modalities, objectives
from nearfar.errors import NearfarError
from nearfar.version import VERSION
from saying import Command

SHORT = ["--steps", 2, "--batch-size", 16]


def config(out: Path) -> dict:
    return yaml.safe_load((out / "config.yaml").read_text())


def test_help_names_every_command(command: Command):
    said = command("--help")
    assert said.code == 0 and said.err == ""
    for name in ("fit", "embed", "evaluate", "report", "methods", "objectives", "demo"):
        assert f"\n  {name} " in said.out
        assert command(name, "--help").code == 0


def test_nothing_said_shows_the_help(command: Command):
    said = command()
    assert said.code == 2 and "Commands:" in said.out + said.err


def test_version(command: Command):
    assert command("--version").out == f"nearfar {VERSION}\n"


def test_the_installed_command_is_this_one():
    script = Path(sys.executable).with_name("nearfar")
    ran = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"nearfar {VERSION}\n"


def test_methods_are_listed_and_described(command: Command):
    said = command("methods")
    listed, around = said.out.split("\n\n")
    lines = listed.splitlines()
    assert [line.split()[0] for line in lines] == list(methods.catalogue())
    assert all(setting in around for setting in ("masked", "penalty", "mixing"))
    assert all("near: " in line and "far: " in line for line in lines)
    for name, kind in methods.catalogue().items():
        said = command("methods", name)
        assert said.code == 0 and said.err == ""
        for part in (kind.near, kind.far, kind.source, "formula", "options"):
            assert part in said.out


def test_methods_as_json_list_every_entry_of_both_catalogues(command: Command):
    said = command("methods", "--json")
    found = json.loads(said.out)
    assert list(found["methods"]) == list(methods.catalogue())
    assert list(found["objectives"]) == list(objectives.catalogue())
    assert all(entry["source"] for entry in found["objectives"].values())
    options = found["methods"]["simclr"]["options"]
    assert options["temperature"] == {"default": 0.2, "meaning": "divides every score"}
    assert set(options) == set(methods.SimCLR.Options.model_fields)


def test_objectives_are_listed_and_described(command: Command):
    lines = command("objectives").out.splitlines()
    assert [line.split()[0] for line in lines] == list(objectives.catalogue())
    assert all(len(line.split()) > 3 for line in lines)
    for name in objectives.catalogue():
        said = command("objectives", name)
        assert said.code == 0 and said.err == "", name
        assert said.out.startswith(f"{name}(") and "source" in said.out, name


def test_fit_writes_run_figures_and_report(command: Command, small: Path, tmp_path: Path):
    out = tmp_path / "run"
    said = command("fit", small, *SHORT, "--out", out)
    assert said.code == 0 and said.err == ""
    assert said.out.startswith(f"Run      {out}\n") and said.out.endswith(f"Report   {out}/report.html\n")
    assert "knn_accuracy against raw pixels" in said.out and "nan" not in said.out
    names = {path.name for path in out.iterdir()}
    assert names == {"config.yaml", "metrics.jsonl", "checkpoints", "report.html", "results.json"}
    assert set(json.loads((out / "results.json").read_text())["evaluations"]) == {
        "nearfar",
        "untrained encoder",
        "raw pixels",
    }
    assert config(out)["command"].startswith(f"nearfar fit {small} --steps 2")
    page = (out / "report.html").read_text("utf-8")
    assert "raw pixels" in page and "data:image" in page

    again = command("fit", "--resume", out, "--no-evaluate")
    assert again.code == 0 and again.err == "" and again.out.startswith(f"Run      {out}\n")


def test_fit_without_labels_says_that_nothing_was_measured(command: Command, small: Path, tmp_path: Path):
    with np.load(small) as archive:
        np.savez(tmp_path / "bare.npz", images=archive["images"][:40])
    out, figures = tmp_path / "run", tmp_path / "figures.json"
    said = command("fit", tmp_path / "bare.npz", *SHORT, "--out", out, "--json", figures)
    assert said.code == 0 and (out / "report.html").exists() and not figures.exists()
    assert said.err.splitlines() == [
        "nearfar: not evaluated, since the data have no labels of two or more classes",
        f"nearfar: nothing was measured, so {figures} was not written",
    ]


def test_fit_on_a_few_labelled_rows_says_why_it_cannot_measure(command: Command, small: Path, tmp_path: Path):
    with np.load(small) as archive:
        np.savez(tmp_path / "few.npz", images=archive["images"][:12], labels=archive["labels"][:12])
    said = command("fit", tmp_path / "few.npz", *SHORT, "--out", tmp_path / "run")
    assert said.code == 0 and (tmp_path / "run" / "report.html").exists()
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith(f"nearfar: not evaluated: {tmp_path / 'few.npz'}: ")


def test_the_run_folder_has_a_name_of_its_own(
    command: Command, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert command("fit", small, *SHORT, "--no-evaluate").code == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.endswith("-simclr")


def test_settings_come_from_options_and_set_and_a_file(command: Command, small: Path, tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text(
        f"data: {small}\nout: {tmp_path / 'run'}\nepochs: 7\nlr: 0.01\nbatch-size: 16\ntemperature: 0.4\nsize: 12\n"
    )
    said = command(
        *("fit", "--config", file, "--steps", 2, "--lr", 0.02, "--no-evaluate"),
        *("--set", "weight_decay=1e-3", "--set", "views=3", "--set", "objective=DCL", "--set", "clip-norm=null"),
    )
    assert said.code == 0 and said.err == ""
    found = config(tmp_path / "run")
    training, method = found["training"], found["method_options"]
    assert (training["steps"], training["epochs"]) == (2, None)  # --steps wins over epochs of the file
    assert (training["lr"], training["batch_size"], training["weight_decay"]) == (0.02, 16, 0.001)
    assert (method["temperature"], method["views"], method["objective"]) == (0.4, 3, "DCL")
    assert found["shape"] == [1, 12, 12] and training["clip_norm"] is None


def test_the_configuration_of_a_run_makes_it_again(command: Command, trained: Path, tmp_path: Path):
    from nearfar.run import Run

    out = tmp_path / "again"
    assert command("fit", "--config", trained / "config.yaml", "--no-evaluate", "--out", out).code == 0
    one, two = Run.load(trained).method.state_dict(), Run.load(out).method.state_dict()
    assert all((one[key] == two[key]).all() for key in one)


def test_embed_writes_vectors(command: Command, trained: Path, small: Path, tmp_path: Path):
    out = tmp_path / "new" / "folder" / "vectors.npz"
    said = command("embed", trained, small, "--out", out, "--batch-size", 64)
    assert said.code == 0 and said.err == "" and said.out == f"200 vectors of width 1024: {out}\n"
    with np.load(out, allow_pickle=False) as saved:
        assert saved["vectors"].shape == (200, 1024)


def test_embed_says_which_part_of_the_data_it_leaves_out(command: Command, trained: Path, small: Path, tmp_path: Path):
    with np.load(small) as archive:
        images, labels = archive["images"], archive["labels"]
    data, out = tmp_path / "parts.npz", tmp_path / "v.npz"
    np.savez(data, images=images[:30], labels=labels[:30], test_images=images[30:37], test_labels=labels[30:37])
    said = command("embed", trained, data, "--out", out)
    assert said.out.startswith("30 vectors")
    assert said.err == f"nearfar: the test part of {data} (7 items) is left out; --test embeds it\n"
    said = command("embed", trained, data, "--out", out, "--test")
    assert said.out.startswith("7 vectors") and said.err == ""
    with np.load(out) as saved:
        assert saved["labels"].tolist() == labels[30:37].tolist()
    said = command("embed", trained, small, "--out", out, "--test")
    assert said.code == 2 and f"{small} has no test part; leave out --test" in said.err


def test_embed_takes_columns_of_another_table(command: Command, trained: Path, small: Path, tmp_path: Path):
    from PIL import Image

    with np.load(small) as archive:
        for row in range(4):
            Image.fromarray(archive["images"][row]).save(tmp_path / f"{row}.png")
    table = tmp_path / "table.csv"
    table.write_text("photo,kind,label\n0.png,a,x\n1.png,b,y\n2.png,a,x\n3.png,b,z\n")
    said = command("embed", trained, table, "-o", tmp_path / "v.npz")
    assert said.code == 2 and "no column of file names" in said.err
    for column, classes in (("kind", ["a", "b"]), ("", ["x", "y", "z"])):
        options = ["--path-column", "photo", "--label-column", column]
        assert command("embed", trained, table, "-o", tmp_path / "v.npz", *options).code == 0
        with np.load(tmp_path / "v.npz") as saved:
            assert saved["classes"].tolist() == classes
    options = ["--path-column", "photo", "--label-column", "kind", "--probes", "geometry"]
    assert command("evaluate", trained, table, *options, "--no-baselines").code == 0


def test_evaluate_prints_and_writes_figures(command: Command, trained: Path, small: Path, tmp_path: Path):
    figures, page = tmp_path / "a" / "figures.json", tmp_path / "b" / "page.html"
    said = command(
        *("evaluate", trained, small, "--probes", "knn, geometry", "-k", 5),
        *("--json", figures, "--report", page),
    )
    assert said.code == 0 and said.err == ""
    found = json.loads(figures.read_text())
    ours = found["evaluations"]["nearfar"]["metrics"]["knn_accuracy"]
    assert f"nearfar            {ours['value']:.3f} [{ours['low']:.3f}, {ours['high']:.3f}]" in said.out
    assert set(found["evaluations"]) == {"nearfar", "untrained encoder", "raw pixels"}
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    alone = command("evaluate", trained, small, "--probes", "knn", "-k", 5, "--no-baselines")
    assert alone.code == 0 and "raw pixels" not in alone.out


def test_report_writes_the_page_again(command: Command, trained: Path, tmp_path: Path):
    said = command("report", trained, "--out", tmp_path / "page.html")
    assert said.code == 0 and said.out == f"Report   {tmp_path / 'page.html'}\n"
    assert "untrained encoder" in (tmp_path / "page.html").read_text("utf-8")


def test_demo(command: Command, small: Path, tmp_path: Path):
    out = tmp_path / "demo"
    said = command("demo", "--out", out, "--data", small, "--steps", 2)
    assert said.code == 0 and said.err == ""
    for name in ("report.html", "results.json", "run"):
        assert (out / name).exists()
    assert f"Report   {out / 'report.html'}" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "say what to learn from: nearfar fit DATA"),
        (["fit", "DATA", "--set", "tempreture=3"], "unknown setting 'tempreture'; did you mean 'temperature'?"),
        (["fit", "DATA", "--set", "temperature"], "--set takes KEY=VALUE, not 'temperature'"),
        (["fit", "DATA", "--set", "lr=["], "--set cannot read the value '['"),
        (["fit", "DATA", "--set", "lr=fast"], "setting 'lr' = 'fast': Input should be a valid number"),
        (["fit", "DATA", "--set", "command=x"], "--set: 'command' is not a setting"),
        (["fit", "DATA", "--set", "method=3"], "--set: method is a text, not 3"),
        (["fit", "DATA", "--epochs", 1, "--steps", 2], "epochs = 1 and steps = 2 were both given; give one of them"),
        (["fit", "DATA", "--method", "simclrr"], "did you mean 'simclr'?"),
        (["fit", "DATA", "--encoder", "smal"], "no image encoder is called 'smal'"),
        (["fit", "DATA", "--config", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file or directory"),
        (["fit", "--resume", "RUN", "--lr", 1, "DATA"], "--resume continues a run with its own settings; leave out"),
        (["evaluate", "RUN", "DATA", "--probes", "knnn"], "there is no probe 'knnn'; there are knn, linear, fewshot"),
        (["evaluate", "RUN", "DATA", "-k", 500], "k=500 neighbours asked of 160 labelled train rows"),
        (["evaluate", "RUN", "DATA", "--per-class", 90], "the few-label probe needs 90"),
        (["methods", "simclrr"], "there is no method 'simclrr'"),
        (["objectives", "NTXnt"], "there is no objective 'NTXnt'"),
        (["embed", "RUN", "DATA", "--out", "DATA"], "is the data themselves"),
    ],
    ids=lambda value: " ".join(map(str, value))[:50] if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_nothing_is_written(
    arguments: list[object],
    message: str,
    command: Command,
    small: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    before = small.read_bytes()
    said = command(*({"DATA": small, "RUN": trained}.get(str(a), a) for a in arguments))
    assert said.code == 2 and said.err.startswith("nearfar: error: ") and message in said.err
    assert len(said.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [] and small.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lr: [", "not YAML"),
        (b"\xff\xfe", "not YAML"),
        ("- lr", "is a list of `setting: value` lines"),
        ("leraning_rate: 1", "unknown setting 'leraning_rate'"),
        ("command: x", "'command' is not a setting"),
        ("encoder: [1]", "encoder is a text, not [1]"),
        ("lr: fast", "setting 'lr' = 'fast'"),
    ],
)
def test_a_bad_settings_file_is_named(
    content: str | bytes, message: str, command: Command, small: Path, tmp_path: Path
):
    file = tmp_path / "settings.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = command("fit", small, "--config", file, "--out", tmp_path / "run")
    assert said.code == 2 and message in said.err and len(said.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_is_named_with_the_closest(command: Command, small: Path):
    said = command("fit", small, "--temprature", 1)
    assert said.code == 2 and "--temperature" in said.err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NearfarError("what and where"), 2, "nearfar: error: what and where\n"),
        (ImportError("this needs x: pip install 'nearfar[images]'"), 2, "nearfar: error: this needs x: pip install"),
        (OSError(28, "No space left on device", "some/file"), 2, "nearfar: error: some/file: No space left on device"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_failure_is_one_line_and_a_code(
    error: BaseException, code: int, message: str, command: Command, small: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr("nearfar.run.fit", fails)
    said = command("fit", small)
    assert said.code == code and said.err.startswith(message) and len(said.err.splitlines()) == 1


def test_the_grid_says_which_method_runs_on_which_modality(command: Command, monkeypatch: pytest.MonkeyPatch):
    head, *lines = command("methods", "--grid").out.splitlines()
    assert head.split() == list(modalities.NAMES)
    assert [line.split()[0] for line in lines] == list(methods.catalogue())
    for line, kind in zip(lines, methods.catalogue().values(), strict=True):
        cell = "with labels" if kind.supervised else "yes"
        assert getattr(kind, "asks", ()) or line.split(maxsplit=1)[1].count(cell) == len(modalities.NAMES)
    # Images can say what they drew for a view, tables cannot.
    monkeypatch.setattr(methods.BYOL, "asks", ("with_draws",), raising=False)
    (line,) = command("methods", "byol", "--grid").out.splitlines()[1:]
    assert line.split(maxsplit=2) == ["byol", "yes", "no with_draws no with_draws"]
