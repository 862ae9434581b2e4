"""Predictive coding on signals whose hidden state is known: bounds beside exact information, and probes.

A hidden state moves on a ring of six: it stays, goes on by one, or seldom jumps. Four tones have phases that run on,
and each state sounds two of them, so that no tone alone tells the state; amplitudes waver, and there is noise. A frame
is 64 samples. Three kinds: phases `drift`, so that they too tell of later frames; are drawn `anew` for every frame, so
that a frame knows no more of later ones than its state does; or all frames are `mixed`, so that nothing is to be found.

    python -m benchmarks.signals --steps 400 --seeds 3
"""

from __future__ import annotations

import argparse
import time
from itertools import combinations

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from nearfar.contrast import Dot
from nearfar.evaluation.bootstrap import bootstrap_mean, paired_difference, seeds_mean
from nearfar.evaluation.logistic import Standardise, fit
from nearfar.objectives import InfoNCE, candidate_counts, steps_ahead, to_later

TONES = np.array([0.07, 0.13, 0.2, 0.29])  # cycles a sample
SOUNDS = np.array([[tone in pair for tone in range(4)] for pair in combinations(range(4), 2)], float)  # (S, tones)
STATES, FRAMES, SAMPLES, AHEAD, SHOWN = len(SOUNDS), 32, 64, 8, (1, 2, 4, 8)
TRAIN, TEST, LABELLED, HEARD, BATCH, WARM = 2000, 1000, 1000, 512, 16, 8
OBJECTIVE = InfoNCE(similarity=Dot(), temperature=1.0)


def moves(stay: float = 0.85, jump: float = 0.03) -> np.ndarray:
    """(S, S) probabilities of the next state; all states are equally frequent."""
    return stay * np.eye(STATES) + (1 - stay - jump) * np.roll(np.eye(STATES), 1, axis=1) + jump / STATES


def information(step: int) -> float:
    """What a state knows of the state `step` later, in nats: exact."""
    later = np.linalg.matrix_power(moves(), step)
    return float((later * np.log(later * STATES)).sum() / STATES)


def drawn(count: int, kind: str, seed: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Signals (N, T, samples), states (N, T) and phases of all tones (N, T, tones) where a frame begins."""
    generator = np.random.default_rng(seed)
    states = np.zeros((count, FRAMES), int)
    states[:, 0] = generator.integers(STATES, size=count)
    for t in range(1, FRAMES):
        odds = moves()[states[:, t - 1]].cumsum(1)
        states[:, t] = (generator.random((count, 1)) > odds).sum(1).clip(max=STATES - 1)
    shape = (count, FRAMES, len(TONES))
    phases = generator.uniform(0, 2 * np.pi, shape)
    if kind != "anew":
        drift = 2 * np.pi * TONES * SAMPLES + 0.3 * generator.standard_normal(shape)
        phases = phases[:, :1] + drift.cumsum(1)
    loud = 0.8 * SOUNDS[states] * np.exp(0.3 * generator.standard_normal(shape))
    signals = generator.standard_normal((count, FRAMES, SAMPLES))
    for tone, pitch in enumerate(TONES):
        signals += loud[:, :, tone, None] * np.sin(phases[:, :, tone, None] + 2 * np.pi * pitch * np.arange(SAMPLES))
    if kind == "mixed":
        order = np.unravel_index(generator.permutation(count * FRAMES).reshape(count, FRAMES), (count, FRAMES))
        signals, states, phases = signals[order], states[order], phases[order]
    return torch.from_numpy(signals.astype(np.float32)), states, phases


class Listener(nn.Module):
    """Strided convolutions see each frame by itself, a recurrent net goes forwards over what they say of it."""

    def __init__(self, seen: int = 32, known: int = 64) -> None:
        super().__init__()
        self.frames = nn.Sequential(
            nn.Conv1d(1, 32, 16, 4), nn.ReLU(), nn.Conv1d(32, 64, 4, 3), nn.ReLU(), nn.Conv1d(64, seen, 4)
        )
        self.onwards = nn.GRU(seen, known, batch_first=True)
        self.maps = nn.ModuleList([nn.Linear(known, seen, bias=False) for _ in range(AHEAD)])

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        """Contexts (B, T, known) and targets (B, T, seen)."""
        targets = self.frames(signals.reshape(-1, 1, SAMPLES)).reshape(*signals.shape[:2], -1)
        return self.onwards(targets)[0], targets

    def ahead(self, contexts: Tensor, targets: Tensor, step: int) -> tuple[Tensor, float]:
        """The loss so many steps ahead among targets of other sequences, and the log of the candidates."""
        there = torch.ones(contexts.shape[:2], dtype=torch.bool)
        known, later, sequences = steps_ahead(contexts, targets, there, step)
        loss = OBJECTIVE(self.maps[step - 1](known), later, relation=to_later(sequences, "others"))
        return loss, float(candidate_counts(sequences, "others").double().log().mean())


def trained(signals: Tensor, steps: int, seed: int) -> tuple[Listener, Listener]:
    """A net after that many steps, and the same with its first weights."""
    torch.manual_seed(seed)
    net, first = Listener(), Listener()
    first.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for _ in range(steps):
        contexts, targets = net(signals[torch.randperm(len(signals))[:BATCH]])
        loss = torch.stack([net.ahead(contexts, targets, k)[0] for k in range(1, AHEAD + 1)]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net, first


@torch.no_grad()
def heard(net: Listener, signals: Tensor) -> np.ndarray:
    """(shown steps, 3): loss and bound with one pair of each sequence; bound in batches as in training."""
    contexts, targets = net(signals)
    found = []
    for k in SHOWN:
        spans = [slice(t, t + k + 1) for t in range(WARM, FRAMES - AHEAD, 2)]
        single = [net.ahead(contexts[:, span], targets[:, span], k) for span in spans]
        batches = [net.ahead(*part, k) for part in zip(contexts.split(BATCH), targets.split(BATCH), strict=True)]
        loss = float(np.mean([float(loss) for loss, _ in single]))
        found.append([loss, single[0][1] - loss, float(np.mean([most - float(loss) for loss, most in batches]))])
    return np.array(found)


def spectra(signals: Tensor) -> np.ndarray:
    """(N, T, bins) log power of every frame under a Hann window."""
    power = torch.fft.rfft(signals * torch.hann_window(SAMPLES)).abs().square()
    return np.asarray(power.clamp(min=1e-3).log())


def chances(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(..., S) what a linear probe of the state, fitted to vectors (N, D), says of others (..., D)."""
    scale = Standardise(train)
    said = fit(scale(train), labels).probabilities(scale(test.reshape(-1, test.shape[-1])))
    return said.reshape(*test.shape[:-1], STATES)


def filtered(said: np.ndarray) -> np.ndarray:
    """(N, T, S) chances of the state given all frames up to then, by the exact chain."""
    belief = np.full(said.shape, 1 / STATES)
    for t in range(FRAMES):
        now = (belief[:, t] if t == 0 else belief[:, t - 1] @ moves()) * said[:, t]
        belief[:, t] = now / now.sum(1, keepdims=True)
    return belief


def turned(train: np.ndarray, test: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> float:
    """R2 of a linear probe for cosine and sine of a phase, on rows apart from those it is fitted to."""
    scale = Standardise(train)
    probe = RidgeCV(np.logspace(-1, 4, 11)).fit(scale(train), np.stack([np.cos(ours), np.sin(ours)], 1))
    return float(probe.score(scale(test), np.stack([np.cos(theirs), np.sin(theirs)], 1)))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=["anew", "drift", "mixed"], default=["anew", "drift", "mixed"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for kind in asked.kinds:
        test, truth, phases = drawn(TEST, kind, 1000)
        ears: list[np.ndarray] = []
        spectral: list[list[float]] = []
        scores: dict[str, list[np.ndarray]] = {}
        angles: dict[str, list[float]] = {}
        start = time.process_time()
        for seed in range(asked.seeds):
            train, states, before = drawn(TRAIN, kind, seed)
            net, first = trained(train, asked.steps, seed)
            ears.append(heard(net, test[:HEARD]))
            vectors = {"log spectrum of the frame": (spectra(train), spectra(test))}
            with torch.no_grad():
                for name, each in (("first weights", first), ("trained", net)):
                    for part, of in ((1, "frames"), (0, "contexts")):
                        vectors[f"{of}, {name}"] = (np.asarray(each(train)[part]), np.asarray(each(test)[part]))
            ours, theirs = (SOUNDS[of[:, -1], 0] > 0 for of in (states[:LABELLED], truth))
            for name, (known, other) in vectors.items():
                last = known[:LABELLED, -1], other[:, -1]
                told = chances(last[0], states[:LABELLED, -1], last[1]).argmax(1)
                scores.setdefault(name, []).append(told == truth[:, -1])
                phase = before[:LABELLED, -1, 0][ours], phases[:, -1, 0][theirs]
                angles.setdefault(name, []).append(turned(last[0][ours], last[1][theirs], *phase))
            known, other = vectors["log spectrum of the frame"]
            said = chances(known[:LABELLED, -1], states[:LABELLED, -1], other)
            belief = filtered(said)
            scores.setdefault("log spectra, filtered", []).append(belief[:, -1].argmax(1) == truth[:, -1])
            ahead = [belief[:, WARM:-k] @ np.linalg.matrix_power(moves(), k) * said[:, WARM + k :] for k in SHOWN]
            spectral.append([float(np.log(STATES * own.sum(2)).mean()) for own in ahead])
        print(f"\n{kind} ({time.process_time() - start:.0f} s of CPU)")
        print("| steps ahead | states | filtered spectra | loss | bound | in batches |")
        for row, k in enumerate(SHOWN):
            cells = [seeds_mean("", [ear[row, column] for ear in ears]).short() for column in range(3)]
            print(f"| {k} | {information(k):.3f} | {np.mean(spectral, 0)[row]:.3f} | {' | '.join(cells)} |")
        for name, hits in scores.items():
            less = paired_difference(np.array(hits), np.array(scores["contexts, first weights"]))
            angle = seeds_mean("", angles[name]).short() if name in angles else ""
            print(f"| {name} | {bootstrap_mean('', np.array(hits)).short()} | {str(less).split(' p')[0]} | {angle} |")


if __name__ == "__main__":
    main()
