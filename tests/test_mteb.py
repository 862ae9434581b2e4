"""A run of texts as a model of MTEB: in the form that is asked for, with its own prompts, in the order of the texts."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.text.source import TextSource
from nearfar.mteb import Encoder, measure
from saying import Command

TEXTS = ["a cat", "one much longer text about whales, " * 5, "a dog", "", "what does the lizard eat", "ants and hay"]
BATCHES = [{"text": TEXTS[:2], "title": ["", ""]}, {"text": TEXTS[2:5]}, {"text": TEXTS[5:]}]
PROMPTS = {"query_prompt": "ask: ", "document_prompt": "note: "}
HOW: dict[str, Any] = {"task_metadata": None, "hf_split": "test", "hf_subset": "default", "batch_size": 2}


class PromptType(str, Enum):  # as in mteb
    query = "query"
    document = "document"


@runtime_checkable
class EncoderProtocol(Protocol):
    """What mteb asks of a model."""

    def encode(self, inputs: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None,
               **kwargs: Any) -> Any: ...  # fmt: skip

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any: ...

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any: ...

    @property
    def mteb_model_meta(self) -> Any: ...


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> nf.Run:
    place = tmp_path_factory.mktemp("mteb")
    lines = [f"what is word{n},it is word{n} again" for n in range(16)]
    (place / "pairs.csv").write_text("\n".join(["anchor,positive", *lines]))
    how: dict[str, Any] = {"method": "pairs", "encoder": "gru-16", "steps": 2, "batch_size": 8, "threads": 1}
    return nf.fit(place / "pairs.csv", place / "run", **how, **PROMPTS)


class _Task:
    """A task of the stub below."""

    def __init__(self, name: str, modality: str = "text", broken: bool = False) -> None:
        about = {"name": name, "type": "STS", "main_score": "cosine_spearman", "modalities": [modality]}
        self.metadata = SimpleNamespace(**about, dataset={"path": f"hub/{name}"})
        self.broken = broken

    def load_data(self) -> None:
        if self.broken:
            raise ConnectionError("Couldn't reach\n the hub")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """In place of mteb: two tasks with known scores, one whose data cannot be fetched, one of images."""
    tasks = {task.metadata.name: task for task in (_Task("One"), _Task("Two"), _Task("Far", broken=True),
                                                   _Task("Seen", "image"))}  # fmt: skip
    scores = {"One": {"test": [0.25, 0.75], "dev": [0.5]}, "Two": {"test": [1.0]}}
    asked: list[dict[str, Any]] = []

    def get_task(name: str) -> _Task:
        if name not in tasks:
            raise KeyError(f"KeyError: '{name}' not found. Did you mean: 'One'?")
        return tasks[name]

    def evaluate(model: Any, task: _Task, **how: Any) -> Any:
        task.load_data()
        asked.append({"model": model, "meta": model.mteb_model_meta, **how})
        parts = scores[task.metadata.name]
        found = {
            split: [{"hf_subset": f"{n}", "main_score": v} for n, v in enumerate(vs)] for split, vs in parts.items()
        }
        mean = np.mean([value for values in parts.values() for value in values])
        return SimpleNamespace(task_results=[SimpleNamespace(scores=found, get_score=lambda: mean)])

    made = SimpleNamespace(get_task=get_task, evaluate=evaluate, cache=SimpleNamespace(ResultCache=Path),
                           models=SimpleNamespace(ModelMeta=dict))  # fmt: skip
    monkeypatch.setitem(sys.modules, "mteb", made)
    return asked


def alone(run: nf.Run, prompt: str) -> np.ndarray:
    """Each text by itself through the bare encoder."""
    net: Any = run.method.encoder.eval()
    with torch.no_grad():
        return np.concatenate([net(net.tokens([prompt + text])).numpy() for text in TEXTS])


def test_it_has_the_form_that_is_asked_for(run: nf.Run, stub: list[dict[str, Any]]):
    model = Encoder(run)
    assert isinstance(model, EncoderProtocol)
    assert model.mteb_model_meta["name"] == "nearfar/run" and model.mteb_model_meta["embed_dim"] == 16
    weights = sum(weight.numel() for weight in run.method.encoder.parameters())
    assert model.mteb_model_meta["n_parameters"] == weights and model.mteb_model_meta["use_instructions"] is True


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [(None, "ask: "), (PromptType.query, "ask: "), ("query", "ask: "), (PromptType.document, "note: ")],
)
def test_prompts_stand_before_the_texts_which_stay_in_their_order(run: nf.Run, kind: Any, prompt: str):
    found = Encoder(run, batch_size=4).encode(iter(BATCHES), prompt_type=kind, **HOW)
    assert found.shape == (6, 16) and found.dtype == np.float32
    assert np.abs(found - alone(run, prompt)).max() < 1e-6
    other = {"ask: ": "note: ", "note: ": "ask: "}[prompt]
    assert np.abs(found - alone(run, other)).max() > 1e-3


def test_vectors_are_those_of_embed(run: nf.Run):
    found = Encoder(run.path).encode(BATCHES, **HOW)
    assert np.array_equal(found, nf.Run.load(run.path).embed(TextSource({"text": TEXTS})).vectors)
    bare = Encoder("ngrams-16").encode(BATCHES, prompt_type=PromptType.query, **HOW)
    prompted = Encoder("ngrams-16", query_prompt="ask: ").encode(BATCHES, prompt_type=PromptType.query, **HOW)
    assert np.abs(bare - prompted).max() > 1e-3


def test_results_are_filed_by_weights_and_settings(run: nf.Run):
    revisions = [Encoder(run).revision, Encoder(run.path).revision, Encoder(run, query_prompt="x").revision]
    assert revisions[0] == revisions[1] != revisions[2] and Encoder("gru-16", **PROMPTS).revision != revisions[0]
    assert Encoder("ngrams-16").name == "nearfar/ngrams-16"


def test_similarities_are_cosines():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 8)), rng.normal(size=(3, 8))
    a[2] = 0
    naive = [[0.0 if not x.any() else x @ y / np.sqrt((x @ x) * (y @ y)) for y in b] for x in a]
    model = Encoder("ngrams-16")
    assert model.similarity(a, torch.tensor(b)).numpy() == pytest.approx(np.array(naive), abs=1e-6)
    assert model.similarity_pairwise(a[:3], b).numpy() == pytest.approx(np.diag(naive), abs=1e-6)
    assert model.similarity(a[0], b).shape == (1, 3)


def test_what_it_cannot_measure_is_refused(run: nf.Run, tmp_path: Path):
    with pytest.raises(DataError, match="no texts but image"):
        Encoder(run).encode([{"image": []}])
    with pytest.raises(ConfigError, match="prompt_type = 'answer'"):
        Encoder(run).encode(BATCHES, prompt_type="answer")
    with pytest.raises(ConfigError, match="batch_size = 0"):
        Encoder(run, batch_size=0)
    with pytest.raises(ConfigError, match="promt"):
        Encoder(run, promt="a")
    (tmp_path / "numbers.csv").write_text("\n".join(["a,b", *(f"{n},{n % 5}.5" for n in range(16))]))
    table = nf.fit(tmp_path / "numbers.csv", tmp_path / "table", steps=1, batch_size=8, threads=1)
    with pytest.raises(ConfigError, match="a run on table"):
        Encoder(table)


def test_scores_of_tasks(run: nf.Run, stub: list[dict[str, Any]], tmp_path: Path):
    found = measure(run, ["One", "Two"], progress=False)
    assert [task["score"] for task in found.tasks] == [0.5, 1.0]
    assert found.tasks[0]["parts"][1] == {"split": "test", "subset": "1", "score": 0.75}
    lines = [line.split() for line in str(found).splitlines()]
    assert ["One", "STS", "cosine_spearman", "0.5000", "3"] in lines and ["mean", "of", "tasks", "0.7500"] in lines
    assert found.out == run.path / "mteb" and [one["cache"] for one in stub] == [found.out] * 2
    assert measure("ngrams-16", ["Two"]).out is None and stub[-1]["cache"] is None
    assert json.loads(found.save(tmp_path / "found.json").read_text())["tasks"] == found.tasks


def test_data_that_cannot_be_fetched_are_named(run: nf.Run, stub: list[dict[str, Any]], tmp_path: Path):
    far = _Task("Far", broken=True)
    with pytest.raises(DataError, match=r"Far \(hub/Far\).* hub: Couldn't reach the hub\. .*HF_HOME.* are in .*out"):
        measure(run, ["One", far], tmp_path / "out")
    assert len(stub) == 1 and "load_data" not in vars(far)


def test_the_command(run: nf.Run, stub: list[dict[str, Any]], command: Command, tmp_path: Path):
    said = command("evaluate", run.path, "--mteb", "One, Two", "--out", tmp_path / "out", "--json", tmp_path / "f.json",
                   "--set", "query_prompt='who: '")  # fmt: skip
    assert said.code == 0, said.err
    assert "mean of tasks" in said.out and f"Results  {tmp_path / 'out'}" in said.out
    assert stub[0]["model"].run.options.query_prompt == "who: "
    assert [task["task"] for task in json.loads((tmp_path / "f.json").read_text())["tasks"]] == ["One", "Two"]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (["--mteb", "Oen"], "no task 'Oen'; did you mean One?"),
        (["--mteb", "Seen"], "of image"),
        (["--mteb", " , "], "no task of MTEB was named"),
        (["--mteb", "Far"], "hub/Far"),
        (["--mteb", "One", "--probes", "knn"], "leave out probes"),
        (["pairs.csv", "--mteb", "One"], "leave out data"),
        (["pairs.csv", "--out", "x"], "--out is of --mteb"),
        ([], "DATA, or --mteb TASK"),
    ],
)
def test_mistakes_are_one_line(run: nf.Run, stub: Any, command: Command, given: list[str], answer: str):
    said = command("evaluate", run.path, *given)
    assert said.code == 2 and answer in said.err and said.err.count("\n") == 1
    assert not (run.path / "mteb").exists()


def test_without_the_package_the_extra_is_named(run: nf.Run, command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    said = command("evaluate", run.path, "--mteb", "STSBenchmark")
    assert said.code == 2 and "pip install 'nearfar[mteb]'" in said.err


def test_mteb_itself_measures_a_run(run: nf.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Tasks from memory; figures beside scipy and a plain loop over cosines."""
    mteb = pytest.importorskip("mteb")
    datasets = pytest.importorskip("datasets")
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.sts import AbsTaskSTS
    from scipy.stats import spearmanr

    about: dict[str, Any] = {
        "description": "from memory", "reference": None, "dataset": {"path": "none/none", "revision": "1"},
        "category": "t2t", "modalities": ["text"], "eval_splits": ["test"], "eval_langs": ["eng-Latn"],
        "date": None, "domains": None, "task_subtypes": None, "license": None, "annotations_creators": None,
        "dialect": None, "sample_creation": None, "bibtex_citation": None,
    }  # fmt: skip
    left = [f"thing number {n} of many" for n in range(12)]
    right = [f"thing number {(n * 5) % 12} of all the others" for n in range(12)]
    gold = [float((n * 7) % 5) for n in range(12)]

    class Alike(AbsTaskSTS):
        metadata = mteb.TaskMetadata(name="Alike", type="STS", main_score="cosine_spearman", **about)
        min_score, max_score = 0, 4

        def load_data(self, **_: Any) -> None:
            rows = datasets.Dataset.from_dict({"sentence1": left, "sentence2": right, "score": gold})
            self.dataset, self.data_loaded = datasets.DatasetDict({"test": rows}), True

    class Find(AbsTaskRetrieval):
        metadata = mteb.TaskMetadata(name="Find", type="Retrieval", main_score="ndcg_at_10", **about)

        def load_data(self, **_: Any) -> None:
            rows = [datasets.Dataset.from_list([{"id": f"{side}{n}", "text": text} for n, text in enumerate(texts)])
                    for side, texts in (("q", left), ("d", right))]  # fmt: skip
            relevant = {f"q{n}": {f"d{n}": 1} for n in range(12)}
            split = RetrievalSplitData(queries=rows[0], corpus=rows[1], relevant_docs=relevant, top_ranked=None)
            self.dataset, self.data_loaded = {"default": {"test": split}}, True

    found = measure(run, [Alike(), Find()], tmp_path / "out", progress=False)

    def vectors(texts: list[str], prompt: str) -> np.ndarray:
        net: Any = run.method.encoder.eval()
        with torch.no_grad():
            rows = net(net.tokens([prompt + text for text in texts])).double().numpy()
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    ask, asked, notes = vectors(left, "ask: "), vectors(right, "ask: "), vectors(right, "note: ")
    assert found.tasks[0]["score"] == pytest.approx(spearmanr((ask * asked).sum(1), gold).statistic, abs=1e-4)
    scores = ask @ notes.T
    places = [(scores[n] > scores[n, n]).sum() for n in range(12)]
    assert found.tasks[1]["score"] == pytest.approx(
        np.mean([1 / np.log2(p + 2) if p < 10 else 0 for p in places]), abs=1e-4
    )
    assert isinstance(Encoder(run), mteb.EncoderProtocol)
    assert len(list((tmp_path / "out").rglob("Alike.json"))) == 1
    monkeypatch.setattr(Encoder, "encode", None)  # what is there already is not measured again
    assert measure(run, [Alike(), Find()], tmp_path / "out", progress=False).tasks == found.tasks
