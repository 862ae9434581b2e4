"""A run is a folder: the configuration, metrics as JSON lines, checkpoints and a report. Fit, resume, load, embed."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from . import methods, modalities, starting, teaching
from .data import bundled
from .data.source import Source, require
from .embedding import embed_rows
from .errors import ConfigError, DataError, NearfarError
from .fitting import TURNED, check_labels, check_views, parts_of, team_for, train, trainer_of
from .methods.method import Method
from .mining.settings import MiningSettings
from .modalities import Modality, Searchable
from .settings import Settings, sort_settings
from .starting import CONFIG
from .training import TrainingSettings, load_checkpoint
from .training.checkpoint import checkpoint_paths, write_whole
from .training.metrics import read_metrics
from .training.protocols import Watch
from .training.rng import preserved, seed_all
from .training.team import Team
from .version import VERSION

WRITTEN = (CONFIG, "metrics.jsonl", "results.json", "report.html", TURNED)
FORMAT = 1
IN_MEMORY = "a Source in memory"  # stands for the path of data that were given as an object
_GROUPS = ("training", "method_options", "options", "source")
_KEYS = ("nearfar", "command", "data", "modality", "method", "encoder", "shape", *_GROUPS)


@dataclass(frozen=True)
class Vectors:
    """Embeddings of some data.

    Attributes:
        vectors: (N, D) float32.
        labels: (N,) int64, -1 unknown; None without labels.
        classes: names of the labels.
        names: (N,) where each row came from.
    """

    vectors: np.ndarray
    labels: np.ndarray | None
    classes: list[str]
    names: list[str]

    def save(self, path: str | Path) -> Path:
        """Write an .npz of `vectors`, `names`, and `labels` and `classes` where there are any; whole or not at all."""
        path = Path(path)
        arrays: dict[str, np.ndarray] = {"vectors": self.vectors, "names": np.array(self.names, dtype=np.str_)}
        if self.labels is not None:
            arrays |= {"labels": self.labels, "classes": np.array(self.classes, dtype=np.str_)}
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        return save(path, content.getvalue())


class Run:
    """A run folder. `Run.load(path)` opens one that `fit` made.

    Attributes:
        path: the folder.
        config: what was run, as in `config.yaml`.
    """

    trained = True  # False for an encoder that stands in place of a run (see `nearfar.opening`)

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path, self.config = path, config

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Open a run folder.

        Raises:
            ConfigError: it is not one, its configuration is damaged, or it was made by a later version.
        """
        path = Path(path).expanduser()
        file = path / CONFIG
        if not file.is_file():
            raise ConfigError(f"{path} is not a run: it has no {CONFIG}. Make one with: nearfar fit DATA --out {path}")
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise ConfigError(f"{file} is of another format than this version of nearfar writes ({FORMAT})")
        wrong = [key for key in _KEYS if key not in config]
        wrong += [key for key in _GROUPS if not isinstance(config.get(key, {}), dict)]
        shape = config.get("shape", [])
        if not (isinstance(shape, list) and all(isinstance(side, int) for side in shape)):
            wrong.append("shape")
        if wrong:
            raise ConfigError(
                f"{file} is damaged: {', '.join(wrong)} missing or not as nearfar wrote it; restore the file"
            )
        return cls(path, config)

    @cached_property
    def modality(self) -> Modality:
        """What kind of data it was trained on."""
        return modalities.find(self.config["modality"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a raw row."""
        return tuple(self.config["shape"])

    @cached_property
    def options(self) -> Any:
        """Settings of the modality."""
        return self.modality.Options(**self.config["options"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        file = self.path / "metrics.jsonl"
        try:
            return read_metrics(file)
        except ValueError as error:
            raise DataError(f"{file} is damaged: {error}; remove the lines that are not JSON") from None

    @property
    def domains(self) -> methods.DomainOptions:
        """What was made of the domains of the data."""
        return methods.DomainOptions(**self.config.get("domains", {}))

    @property
    def start(self) -> dict[str, Any] | None:
        """Which given weights the encoder started from (see `nearfar.starting.build`); None for random ones."""
        return self.config.get("start")

    def fresh_method(self) -> Method:
        """The method as it was before the first step; same seed and same start, same weights.

        Raises:
            ConfigError: the weights that it started from are gone, or are others now.
        """
        return self._made(with_start=True)

    def _made(self, with_start: bool) -> Method:
        kind, name, facts = methods.find(self.config["method"]), self.config["encoder"], self.config["source"]
        with preserved():
            seed_all(self.config["training"]["seed"])
            if with_start:
                _, encoder, now = starting.build(self.modality, name, facts, self.options)
                starting.check_same(name, self.start, now)
            else:
                kept = self.path / starting.KEPT
                encoder = starting.blank(self.modality, name, self.start, facts, self.options, kept)
            method = kind(encoder, kind.Options(**self.config["method_options"]))
            return methods.around(method, self.config)

    @cached_property
    def method(self) -> Method:
        """The method with the weights of the newest checkpoint, the encoder's averaged with its start if that is set.

        Raises:
            ConfigError: there is none, or it is of another model. CheckpointError: there is none that can be read.
        """
        made = self._made(with_start=False)
        checkpoint = load_checkpoint(self.path / "checkpoints")
        if checkpoint is None:
            raise ConfigError(f"{self.path} has no checkpoint yet; continue it with: nearfar fit --resume {self.path}")
        try:
            made.load_state_dict(checkpoint.state["method"])
        except RuntimeError:
            raise ConfigError(
                f"{checkpoint.path} holds the weights of another model than {self.path / CONFIG} describes (method "
                f"{self.config['method']!r}, encoder {self.config['encoder']!r}); restore that file"
            ) from None
        share = self.config["training"].get("average_with_start")
        if share:
            starting.average(made.encoder, self.fresh_method().encoder, share)
        return made

    def averaged(self, share: float | None) -> Run:
        """The same run whose encoder is (1 - share) trained + share start (see `nearfar.starting.average`).

        Raises:
            ConfigError: its encoder did not start from given weights.
        """
        _check_start(share, self.start)
        training = TrainingSettings(**{**self.config["training"], "average_with_start": share})
        return Run(self.path, {**self.config, "training": training.model_dump()})

    def reading(self, **options: Any) -> Run:
        """The same run that reads data by other settings, such as `label_column="kind"` of another table."""
        return Run(self.path, {**self.config, "options": {**self.config["options"], **options}})

    def read(self, data: str | Path | Source, progress: bool | None = None) -> tuple[Source, Source | None]:
        """Data in the shape that the encoder takes: the training part, and the test part where there is one."""
        if isinstance(data, Source):
            return data, None
        data = bundled.located(data)
        cache = self.path / "cache"
        if str(Path(data).expanduser().resolve()) == self.config["data"] and cache.is_dir():
            pair = self.modality.read_pair(Path(data), self.options, None, cache, shown(progress))
            if tuple(pair[0].describe()["shape"]) == self.shape:
                return pair
        return self.modality.read_pair(Path(data), self.options, self.config["source"], None, shown(progress))

    def held_out(self, progress: bool | None = None) -> Source | None:
        """The pairs that were kept out of training (`held_out`); None where there are none."""
        training = TrainingSettings(**self.config["training"])
        if not training.held_out:
            return None
        source = self.read(self.config["data"], progress)[0]
        return source.select(parts_of(source, training)[1])

    def collection(self, data: str | Path | Source) -> Searchable | None:
        """Queries, documents and what is relevant to what; None where the data are of another form."""
        if isinstance(data, Source):
            return None
        return self.modality.collection(Path(bundled.located(data)).expanduser(), self.options)

    def embed(
        self,
        data: str | Path | Source,
        progress: bool | None = None,
        batch_size: int = 512,
        devices: int = 1,
        exact: bool = False,
    ) -> Vectors:
        """Embeddings of all rows of some data (of the training part where they come in parts), in order.

        With `devices` several processes share the rows; with `exact` a row's vector is the same bits at any batch size;
        see `nearfar.embedding.embed_rows`.

        >>> run.embed("photos/").vectors.shape                              # doctest: +SKIP
        (1200, 256)
        """
        source = data if isinstance(data, Source) else self.read(data, progress)[0]
        vectors = self.vectors_of(self.method, source, progress, batch_size, devices, exact)
        return Vectors(vectors, source.labels, list(source.classes), list(source.names))

    def vectors_of(
        self,
        method: Method,
        source: Source,
        progress: bool | None = None,
        batch_size: int = 512,
        devices: int = 1,
        exact: bool = False,
    ) -> np.ndarray:
        """(N, D) embeddings by some method of this run: the trained one, or the fresh one."""
        views = self.modality.views(self.config["source"], 2, self.options, method.encoder)
        device = TrainingSettings(**self.config["training"]).resolve_device()
        return embed_rows(method.encoder.to(device), views, source, device, shown(progress), batch_size, devices, exact)


def fit(
    data: str | Path | Source,
    out: str | Path | None = None,
    *,
    method: str = "simclr",
    encoder: str | None = None,
    modality: str | None = None,
    progress: bool | None = None,
    command: str | None = None,
    cache: str | Path | None = None,
    watch: Callable[[Run, Method], Watch] | None = None,
    **settings: Any,
) -> Run:
    """Learn vectors from data: the whole job, into a run folder.

    Args:
        data: a path (see `nearfar.modalities.images.reading.read`), "bundled:fashion" or another set that comes with
            the package (see `nearfar.data.bundled.path`), or a `Source`.
        out: the run folder; `runs/<date>-<method>` when None. It must not hold a run already.
        method: a name from `nearfar.methods.catalogue()`.
        encoder: a name such as "small", "torchvision/resnet18", "timm/resnet18:pretrained" or
            "timm/resnet18@FILE.safetensors" (see docs/pretrained.md), or the folder of an earlier run; chosen by size
            when None. With given weights, settings that are not given are those of `nearfar.starting.FINE_TUNING`.
        modality: a name from `nearfar.modalities.NAMES`; recognised from the data when None.
        progress: show bars; on a terminal only when None.
        cache: folder for decoded data, shared by several runs on the same data; one in the run folder when None.
        watch: makes what looks at the method while it is trained (see `nearfar.training.protocols.Watch`).
        settings: any setting of training (`epochs`, `batch_size`, `lr`, `seed`, `micro_batch`, `devices`, ...), of the
            method (`temperature`, `projection`, ...) or of the modality (`size`, `recipe`, `label_column`, ...).

    With `devices=N` it starts N processes that share every batch and waits for them; started by torchrun, it works in
    its processes, each of which gets the run (see docs/devices.md).

    Raises:
        DataError: the data cannot be used. ConfigError: an unknown or impossible setting. Interrupted: Ctrl-C, after
        the checkpoint is written. Diverged: the loss is not finite.

    >>> run = fit("photos/", epochs=20)                                     # doctest: +SKIP
    """
    data = bundled.located(data)
    with team_for(settings.get("devices")) as team:
        run, source = team.same(
            lambda: _begin(data, out, team, progress, settings, method, encoder, modality, command, cache)
        )
        # First, so that impossible settings leave no run.
        trainer = trainer_of(run, source, team, shown(progress), watch)
        config = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True).encode()
        team.same(lambda: _settle(run, trainer.method, config))
        team.same(lambda: teaching.prepare(run, source, shown(progress)))
        train(run, trainer, source, team, resume=False)
        return run


def _begin(
    data: str | Path | Source,
    out: str | Path | None,
    team: Team,
    progress: bool | None,
    settings: dict[str, Any],
    method: str,
    encoder: str | None,
    modality: str | None,
    command: str | None,
    cache: str | Path | None,
) -> tuple[Run, Source]:
    """Check what can be checked; a run that has no folder yet, and its data."""
    kind = methods.find(method)
    made = modalities.find(modality) if modality else recognised(data, settings)
    settings = settings if team.alone else {**settings, "devices": team.world}
    groups: list[type[Settings]] = [
        TrainingSettings,
        kind.Options,
        made.Options,
        MiningSettings,
        *methods.AROUND.values(),
    ]
    training, method_options, options, mining, *beside = sort_settings(
        settings, *groups, elsewhere=modalities.elsewhere(made)
    )
    around: dict[str, Any] = {name: said for name, said in zip(methods.AROUND, beside, strict=True) if said.asked}
    out = Path(out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{method}").expanduser()
    _check_free(out)
    if training.held_out and isinstance(data, Source):
        raise ConfigError("held_out is for data on disk; of data in memory keep rows out yourself: source.select(rows)")
    source = training_source(data, made, options, Path(cache) if cache else out / "cache", progress, training)
    source = around.get("domains", methods.DomainOptions(**{})).learned(source)
    if mining.batches != "random" and around.get("domains") and around["domains"].even_domains:
        raise ConfigError("even_domains and batches both say what a batch holds; leave out one of them")
    check_labels(kind, source)
    facts = source.describe()
    method_options = method_options.for_batch(min(training.batch_size, len(source)))
    method_options = method_options.settled(facts, facts.get("views") or getattr(options, "count", None))
    method_options, teacher = teaching.settled(kind, method_options, source)
    with preserved():
        seed_all(training.seed)
        encoder_name, net, start = starting.build(made, encoder and starting.full_name(encoder), facts, options)
    check_views(kind, made, made.views(facts, method_options.views, options, net))
    if start is not None:
        usual = getattr(net, "fine_tuning", starting.FINE_TUNING)
        training = TrainingSettings(**{**usual, **TrainingSettings.among(settings)})
    _check_start(training.average_with_start, start)
    config: dict[str, Any] = {
        "format": FORMAT,
        "nearfar": VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command or " ".join(sys.argv),
        "data": IN_MEMORY if isinstance(data, Source) else str(Path(data).expanduser().resolve()),
        "modality": made.name,
        "method": method,
        "encoder": encoder_name,
        **({"start": start} if start is not None else {}),
        "shape": facts["shape"],
        "training": training.model_dump(),
        "method_options": method_options.model_dump(),
        "options": options.model_dump(),
        **({"mining": mining.given()} if mining.given() else {}),
        **{name: said.model_dump() for name, said in around.items()},
        **({"teacher": teacher} if teacher is not None else {}),
        "source": facts,
    }
    return Run(out, config), source


def resume(
    out: str | Path,
    data: Source | None = None,
    progress: bool | None = None,
    watch: Callable[[Run, Method], Watch] | None = None,
    devices: int | None = None,
) -> Run:
    """Continue a run that was interrupted or killed; a finished one is left as it is. Same bits as without the break.

    Args:
        out: the run folder. data: its data, where they were given in memory. watch: as for `fit`.
        devices: as for `fit`, where it is to be another number than before; the result is then equal to rounding.

    Raises:
        ConfigError: not a run, or its data or settings have changed.
    """
    with team_for(devices) as team:
        run, source = (
            _found(out, data, progress) if data is not None else team.same(lambda: _found(out, None, progress))
        )
        if devices is not None or not team.alone:
            training = {**run.config["training"], "devices": devices if team.alone else team.world}
            run = Run(run.path, {**run.config, "training": training})
        team.same(lambda: teaching.prepare(run, source, shown(progress)))
        train(run, trainer_of(run, source, team, shown(progress), watch), source, team, resume=True)
        return run


def _found(out: str | Path, data: Source | None, progress: bool | None) -> tuple[Run, Source]:
    """A run that is there, and its data."""
    run = Run.load(out)
    if data is None and run.config["data"] == IN_MEMORY:
        raise DataError(f"the data of {out} were given in memory; resume it from Python: nearfar.resume(path, data)")
    if data is None and not Path(run.config["data"]).exists():
        raise DataError(f"the data of {out} are gone: {run.config['data']} does not exist; put them back to resume")
    # Read as for `fit`, so that what it has decoded is found; a shape that has changed is data that have changed.
    given, training = run.config["data"] if data is None else data, TrainingSettings(**run.config["training"])
    source = training_source(given, run.modality, run.options, run.path / "cache", progress, training)
    source = run.domains.learned(source)
    check_labels(methods.find(run.config["method"]), source)
    return run, source


def save(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all; folders are made.

    Raises:
        NearfarError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        reason = f"{path.parent} is not a folder" if isinstance(error, FileExistsError) else error.strerror or error
        raise NearfarError(f"{path} cannot be written: {reason}; choose another place") from None
    return path


def training_source(
    data: Any, modality: Modality, options: Any, cache: Path | None, progress: bool | None, training: TrainingSettings
) -> Source:
    """What is learned from; data in memory are taken to be that. Decoded data are kept in `cache`, if there is one."""
    if isinstance(data, Source):
        source = data
    else:
        source, _ = modality.read_pair(Path(data), options, None, cache, shown(progress))
        source = source.select(parts_of(source, training)[0]) if training.held_out else source
    source = modality.learned(source, options, cache, shown(progress))
    require(source, 2)
    return source


def recognised(data: Any, settings: dict[str, Any]) -> Modality:
    """The modality of some data, where nobody said it."""
    if isinstance(data, Source):
        return modalities.find(data.kind)
    return modalities.recognise(Path(data).expanduser(), settings)


def _settle(run: Run, method: Any, config: bytes) -> None:
    """Make the folder of a run: its configuration, and what its encoder needs beside weights."""
    if hasattr(method.encoder, "keep"):
        method.encoder.keep(run.path / starting.KEPT)
    save(run.path / CONFIG, config)


def _check_free(out: Path) -> None:
    """Refuse a folder that holds a run, or anything that a run would overwrite."""
    there = [name for name in WRITTEN if (out / name).exists()]
    if checkpoint_paths(out / "checkpoints"):
        raise ConfigError(
            f"{out} already holds a run; continue it with: nearfar fit --resume {out}, or choose another folder"
        )
    if there:
        raise ConfigError(f"{out} already holds {', '.join(there)}, which a run would overwrite; choose another folder")


def _check_start(share: float | None, start: dict[str, Any] | None) -> None:
    if share and start is None:
        raise ConfigError(
            "average_with_start is set, but the encoder starts from random weights; start from NAME:pretrained, "
            "NAME@FILE.safetensors or a run"
        )


def shown(progress: bool | None) -> bool:
    """Whether to show progress: as asked, on a terminal when nobody asked."""
    return sys.stderr.isatty() if progress is None else progress
