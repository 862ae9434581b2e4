"""Tasks of MTEB, the Massive Text Embedding Benchmark: a run of texts as a model that the package `mteb` measures."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .errors import ConfigError, DataError
from .models.digest import digest
from .opening import open_run
from .run import Run, save
from .version import VERSION

COLUMNS = {None: "text", "query": "query", "document": "document"}  # names by which a run knows its prompts
FOLDER = "mteb"  # of results, in a run folder
DIGITS = 6  # as many as mteb keeps in files, so that a result read again is the same

Say = Callable[[str], None]


class Encoder:
    """A run of texts, or an encoder by name, in the form that `mteb.evaluate` takes (its `EncoderProtocol`).

    The run's own prompts are used: `query_prompt` before queries and before texts of which a task does not say what
    they are, `document_prompt` before documents. Prompts that a task brings along are not. Vectors are those of
    `Run.embed`, their similarity is the cosine.

    Args:
        run: a run, its folder, or an encoder by name (see `nearfar.opening.open_run`).
        batch_size: texts that are encoded together, sorted by length; that of `mteb` says only how many it hands over
            at a time.
        options: settings of texts, such as `query_prompt="query: "`.

    Raises:
        ConfigError: it is neither, it is of other data than texts, or an option is wrong.

    >>> Encoder("ngrams-32").run.config["encoder"]
    'ngrams-32'
    """

    def __init__(self, run: Run | str | Path, batch_size: int = 512, **options: Any) -> None:
        if isinstance(run, Run):
            run = run.reading(**options) if options else run
        else:
            from .modalities.text.source import TextSource

            run = open_run(run, TextSource({"text": ["a text"]}), modality="text", **options)
        if run.modality.name != "text":
            raise ConfigError(f"MTEB measures encoders of texts, and {run.path} is a run on {run.modality.name}")
        if batch_size < 1:
            raise ConfigError(f"batch_size = {batch_size}, and must be at least 1")
        self.run, self.batch_size = run, batch_size
        self._settings = run.options.model_dump_json()

    def encode(self, inputs: Iterable[Any], *, prompt_type: Any = None, **how: Any) -> np.ndarray:
        """(N, D) float32 vectors of the texts of all batches, in their order.

        Args:
            inputs: batches as `mteb` makes them: {"text": list of texts, ...}.
            prompt_type: whether the texts ask ("query"), are sought ("document"), or neither (None).
            how: what else `mteb` says: the task, its split and subset, and `show_progress_bar`.

        Raises:
            DataError: a batch without texts. ConfigError: another kind of prompt.
        """
        from .modalities.text.source import TextSource

        kind = getattr(prompt_type, "value", prompt_type)
        if kind not in COLUMNS:
            raise ConfigError(f"prompt_type = {kind!r}, but there are query and document")
        texts: list[str] = []
        for batch in inputs:
            if "text" not in batch:
                raise DataError(f"this task has no texts but {', '.join(batch)}; name a task of texts")
            texts += batch["text"]
        progress = None if how.get("show_progress_bar", True) else False
        source = TextSource({COLUMNS[kind]: texts})
        return self.run.vectors_of(self.run.method, source, progress, self.batch_size)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """(N, M) cosines of vectors (N, D) and (M, D)."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """(N,) cosines of the rows of (N, D) and (N, D)."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(1)

    @property
    def name(self) -> str:
        """What results are filed under: of a run its folder, of an encoder the last part of its name."""
        known = self.run.path.resolve().name if self.run.trained else Path(self.run.config["encoder"]).name
        return "nearfar/" + re.sub(r"[^\w.-]+", "-", known)

    @cached_property
    def revision(self) -> str:
        """Differs wherever the weights, or the settings of texts, differ: results are kept by it."""
        return hashlib.sha256(f"{digest(self.run.method.encoder.state_dict())} {self._settings}".encode()).hexdigest()[
            :16
        ]

    @cached_property
    def mteb_model_meta(self) -> Any:
        """What `mteb` notes of a model."""
        net: Any = self.run.method.encoder
        options = self.run.options
        return _library().models.ModelMeta(
            loader=None,
            name=self.name,
            revision=self.revision,
            release_date=None,
            languages=None,
            n_parameters=sum(weight.numel() for weight in net.parameters()),
            memory_usage_mb=None,
            max_tokens=getattr(getattr(net, "settings", None), "most_tokens", None),
            embed_dim=net.width,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name="cosine",
            use_instructions=bool(options.query_prompt or options.document_prompt),
            training_datasets=None,
        )


@dataclass(frozen=True)
class Scores:
    """What tasks of MTEB gave.

    Attributes:
        model, revision: what was measured.
        tasks: for each its name, type, measure and score (of all parts, as `mteb` takes them together), and the score
            of each part by split and subset.
        out: the folder with the results in the form of `mteb`; None where none were kept.
    """

    model: str
    revision: str
    tasks: list[dict[str, Any]]
    out: Path | None = None

    def __str__(self) -> str:
        rows = [(t["task"], t["type"], t["measure"], f"{t['score']:.4f}", str(len(t["parts"]))) for t in self.tasks]
        if len(rows) > 1:
            rows.append(("mean of tasks", "", "", f"{np.mean([t['score'] for t in self.tasks]):.4f}", ""))
        rows.insert(0, ("task", "type", "measure", "score", "parts"))
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip() for row in rows]
        return "\n".join([f"MTEB of {self.model}", "", *lines])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {"nearfar": VERSION, "model": self.model, "revision": self.revision, "tasks": self.tasks}

    def save(self, path: str | Path) -> Path:
        """Write the JSON."""
        return save(Path(path), json.dumps(self.to_json(), indent=1).encode())


def measure(
    run: Run | str | Path,
    tasks: Sequence[Any],
    out: str | Path | None = None,
    batch_size: int = 512,
    progress: bool | None = None,
    on_step: Say | None = None,
    **options: Any,
) -> Scores:
    """Measure a run on tasks of MTEB.

    `mteb` fetches the data of a task from the Hugging Face hub the first time, and keeps them. A task whose result is
    in `out` already, of the same weights and settings, is not measured again.

    Args:
        run: a run, its folder, or an encoder by name.
        tasks: names, such as "STSBenchmark", or task objects of `mteb`.
        out: where results go; `mteb` in the run folder when None, and nowhere for an encoder by name.
        batch_size, options: see `Encoder`.
        progress: show the bars of `mteb`; on a terminal when None.
        on_step: is told which task is next.

    Raises:
        ConfigError: an unknown task, one that is not of texts, or a run of other data. DataError: the data of a task
        are not here and cannot be fetched. ImportError: `mteb` is not installed.

    >>> print(measure("runs/glosses", ["STSBenchmark"]))                        # doctest: +SKIP
    """
    mteb = _library()
    if not tasks:
        raise ConfigError("no task of MTEB was named; name one, such as STSBenchmark")
    chosen = [_task(mteb, task) if isinstance(task, str) else task for task in tasks]
    encoder = Encoder(run, batch_size, **options)
    if out is None and encoder.run.trained:
        out = encoder.run.path / FOLDER
    place = None if out is None else Path(out).expanduser()
    how: dict[str, Any] = {"cache": None if place is None else mteb.cache.ResultCache(place), "co2_tracker": False}
    how |= {"show_progress_bar": progress is not False, "encode_kwargs": {"batch_size": batch_size}}
    if progress is False:
        how["encode_kwargs"]["show_progress_bar"] = False
    encoder.mteb_model_meta  # what goes wrong in it, mteb would take for no model  # noqa: B018
    lines = []
    for task in chosen:
        if on_step is not None:
            on_step(f"mteb: {task.metadata.name}")
        with _naming_data(task, place):
            (result,) = mteb.evaluate(encoder, task, **how).task_results
        lines.append(_line(task, result))
    if on_step is not None:
        on_step("mteb: done")
    return Scores(encoder.name, encoder.revision, lines, place)


def _library() -> Any:
    """The package `mteb`."""
    try:
        import mteb
    except ImportError as error:
        raise ImportError(f"tasks of MTEB need the package mteb: pip install 'nearfar[mteb]' ({error})") from error
    return mteb


def _task(mteb: Any, name: str) -> Any:
    try:
        task = mteb.get_task(name)
    except KeyError as error:
        near = re.search(r"Did you mean: '(.+?)'", str(error))
        raise ConfigError(
            f"mteb has no task {name!r}" + (f"; did you mean {near[1]}?" if near else "; mteb.get_tasks() lists them")
        ) from None
    if other := [kind for kind in task.metadata.modalities if kind != "text"]:
        raise ConfigError(f"the task {name} is of {', '.join(other)}; name tasks of texts")
    return task


@contextmanager
def _naming_data(task: Any, out: Path | None) -> Iterator[None]:
    """Say, where the data of a task cannot be had, whose they are and what to do."""
    parts = getattr(task.metadata, "tasks", None) or [task]  # some tasks are several

    def guarded(part: Any) -> Callable[..., Any]:
        load = part.load_data

        def loading(*args: Any, **how: Any) -> Any:
            try:
                return load(*args, **how)
            except Exception as error:
                why = " ".join(str(error).split()) or type(error).__name__
                kept = "" if out is None else f" Results so far are in {out}."
                raise DataError(
                    f"the data of {part.metadata.name} ({part.metadata.dataset['path']}) are neither here nor could "
                    f"mteb fetch them from the Hugging Face hub: {why[:300]}. Run it once where the hub can be "
                    f"reached, or set HF_HOME to a folder that has them.{kept}"
                ) from error

        return loading

    for part in parts:
        part.load_data = guarded(part)
    try:
        yield
    finally:
        for part in parts:
            del part.load_data


def _line(task: Any, result: Any) -> dict[str, Any]:
    parts = [
        {"split": split, "subset": scores["hf_subset"], "score": round(float(scores["main_score"]), DIGITS)}
        for split, found in result.scores.items()
        for scores in found
    ]
    about = task.metadata
    known = {"task": about.name, "type": str(about.type), "measure": about.main_score}
    return {**known, "score": round(float(result.get_score()), DIGITS), "parts": parts}


def _unit(vectors: Any) -> Tensor:
    """Rows of length 1, (N, D); one vector (D,) is one row."""
    return functional.normalize(torch.atleast_2d(torch.as_tensor(vectors)).float(), dim=1)
