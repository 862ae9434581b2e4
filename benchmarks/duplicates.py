"""What `nearfar dedupe` finds of near duplicates that were planted in real data, and how long it takes.

Of 5,000 real pictures or texts 500 stand there a second time, edited: a hundred by each of five edits. Pictures are
shifted by a pixel, made darker, given noise, compressed to JPEG of quality 40, or cropped to 26 pixels and enlarged. In
texts a word is left out, two words change places, a letter is dropped, a word is replaced by one of another text, or
capitals and a full stop are set. Recall: copies that are in one group with their original. Precision: rows to drop that
share their group with their copy or original; equal rows that were in the data before count as wrong. Intervals by the
bootstrap over copies, and over rows to drop.

    python -m benchmarks.duplicates texts minilm ngrams
    python -m benchmarks.duplicates pictures small runs/fashion
    python -m benchmarks.duplicates speed --rows 100000 --width 256
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from nearfar.curation import Duplicates, duplicates
from nearfar.curation.copies import suggest
from nearfar.data import bundled
from nearfar.data.source import ArraySource, Source
from nearfar.evaluation import bootstrap_mean
from nearfar.opening import open_run
from nearfar.store import Store

ROWS, COPIES = 5000, 500
THRESHOLDS = {"texts": (0.8, 0.9, 0.95), "pictures": (0.98, 0.99, 0.995)}


def edited_picture(picture: np.ndarray, edit: int, rng: np.random.Generator) -> np.ndarray:
    """A (28, 28) picture, edited."""
    from PIL import Image

    if edit == 0:
        return np.roll(picture, int(rng.choice([-1, 1])), axis=int(rng.integers(2)))
    if edit == 1:
        return (picture * 0.85).astype(np.uint8)
    if edit == 2:
        return np.clip(picture + rng.normal(0, 10, picture.shape), 0, 255).astype(np.uint8)
    if edit == 3:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "jpeg", quality=40)
        return np.asarray(Image.open(file))
    return np.asarray(Image.fromarray(picture[1:-1, 1:-1]).resize((28, 28), Image.Resampling.BILINEAR))


def edited_text(text: str, edit: int, rng: np.random.Generator, others: list[str]) -> str:
    """A text, edited."""
    words = text.split()
    place = int(rng.integers(len(words)))
    if edit == 0:
        del words[place]
    elif edit == 1:
        other = (place + 1) % len(words)
        words[place], words[other] = words[other], words[place]
    elif edit == 2:
        longest = max(range(len(words)), key=lambda n: len(words[n]))
        words[longest] = words[longest][:2] + words[longest][3:]
    elif edit == 3:
        words[place] = str(rng.choice(others[int(rng.integers(len(others)))].split()))
    else:
        return text[:1].upper() + text[1:] + "."
    return " ".join(words)


def planted(kind: str) -> tuple[Source, np.ndarray]:
    """Data with copies behind the originals, and for each row the number of its original."""
    rng = np.random.default_rng(0)
    if kind == "pictures":
        with np.load(bundled.path("fashion")) as archive:
            pictures = archive["images"][:ROWS].reshape(-1, 28, 28)
        chosen = rng.permutation(len(pictures))[:COPIES]
        copies = [edited_picture(pictures[row], place % 5, rng) for place, row in enumerate(chosen)]
        source: Source = ArraySource("images", np.concatenate([pictures, np.stack(copies)])[:, None])
    else:
        from nearfar.modalities.text.source import TextSource

        path = bundled.path("sentences")
        read = open_run("ngrams", path).read(path)[0]
        texts = list(read.columns["text"][:ROWS])  # type: ignore[attr-defined]
        long = np.flatnonzero([len(text.split()) >= 5 for text in texts])
        chosen = rng.permutation(long)[:COPIES]
        copies = [edited_text(texts[row], place % 5, rng, texts) for place, row in enumerate(chosen)]
        source = TextSource({"text": [*texts, *copies]})
    return source, np.concatenate([np.arange(ROWS), chosen])


def figures(found: Duplicates, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per copy whether it was found, and per row to drop whether that is right."""
    group = {int(one): n for n, g in enumerate(found.groups) for one in (g.keep, *g.drop)}
    hit = [group.get(ROWS + n, -1) == group.get(int(row), -2) for n, row in enumerate(origin[ROWS:])]
    right = []
    for one in found.groups:
        members = origin[[int(name) for name in (one.keep, *one.drop)]].tolist()
        right += [members.count(origin[int(name)]) > 1 for name in one.drop]
    return np.array(hit, float), np.array(right, float)


def measure(kind: str, encoder: str, folder: Path) -> None:
    """One encoder at all thresholds, and at the suggested one."""
    source, origin = planted(kind)
    run = open_run(encoder, source)
    vectors = run.embed(source, progress=False).vectors
    store = Store.create(folder / f"{kind}-{Path(encoder).name}", vectors.shape[1])
    store.add([str(row) for row in range(len(source))], vectors)
    guess = suggest(store)
    for threshold in sorted({*THRESHOLDS[kind], guess}):
        found = duplicates(store, threshold)
        hit, right = figures(found, origin)
        recall = bootstrap_mean("recall", hit)
        precision = bootstrap_mean("precision", right) if len(right) else "none dropped"
        mark = "suggested" if threshold == guess else ""
        print(f"{kind} {encoder}: {threshold:.4f} {mark} {recall} {precision}", flush=True)
        print("   by edit:", [round(float(hit[edit::5].mean()), 2) for edit in range(5)])


def speed(rows: int, width: int, folder: Path) -> None:
    """Time and memory on random vectors of which a hundredth stands there twice, nearly."""
    rng = np.random.default_rng(0)
    store = Store.create(folder / "speed", width)
    step = 50_000
    for start in range(0, rows, step):
        block = rng.standard_normal((min(step, rows - start), width), dtype=np.float32)
        block[: len(block) // 100] = block[-(len(block) // 100) :] + 0.05
        store.add([str(row) for row in range(start, start + len(block))], block)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = duplicates(store, 0.95)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{rows:,} x {width}: {time.process_time() - begun:.1f} s of a core, {peak / 1024:.0f} MiB more at the peak, "
          f"{len(found.drop):,} rows to drop")  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("texts", "pictures", "speed"))
    parser.add_argument("encoders", nargs="*", help="runs, or encoders by name")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=256)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.kind == "speed":
            speed(asked.rows, asked.width, Path(folder))
        for encoder in asked.encoders:
            measure(asked.kind, encoder, Path(folder))


if __name__ == "__main__":
    main()
