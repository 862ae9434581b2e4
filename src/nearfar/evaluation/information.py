"""How much two sets of paired rows say of each other: bounds on mutual information by a trained critic, in nats.

A critic f(x, y) is trained to be high for rows that belong together and low for others, on some of the pairs; the
bound is then read off the pairs that were held out, batch by batch. With f_ij the scores of a batch of K pairs, "own"
the K on the diagonal and "other" the K (K - 1) beside it:

- InfoNCE: mean_i [f_ii - log mean_j e^(f_ij)], never above log K. van den Oord et al. 2018.
- NWJ: mean over own of f - e^-1 mean over other of e^f; unbiased, its variance grows as e^(2 I). Nguyen et al. 2010.
- DonskerVaradhan: mean over own of f - log mean over other of e^f (MINE). Belghazi et al. 2018, eq. 10.
- JensenShannon: trained by -mean softplus(-f) over own - mean softplus(f) over other, whose best critic is the
  logarithm of the ratio of densities; read by NWJ with f + 1. Poole et al. 2019, section 2.3.
- SMILE: trained likewise, read by Donsker-Varadhan with e^f kept inside [e^-clip, e^clip]. Song & Ermon 2020, eq. 14.

A bound that says more is not a better objective: Tschannen et al. 2020 found representations to depend more on critic
and encoder than on how tight the bound is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nearfar.errors import ConfigError, DataError

from .bootstrap import bootstrap_mean
from .checks import Vectors, as_vectors
from .metric import Metric


def information(
    x: Vectors,
    y: Vectors,
    bound: str = "InfoNCE",
    critic: str = "separable",
    steps: int = 1000,
    batch: int = 128,
    hidden: int = 128,
    lr: float = 1e-3,
    clip: float = 5.0,
    held: float = 0.2,
    resamples: int = 1000,
    seed: int = 0,
) -> Metric:
    """The mutual information of the rows of `x` and `y` by one bound and one critic, in nats, with an interval.

    Args:
        x, y: (N, D) and (N, E); row i of one belongs to row i of the other. Columns are standardised.
        bound: "InfoNCE", "NWJ", "DonskerVaradhan", "JensenShannon" or "SMILE".
        critic: "bilinear" x' W y, "separable" g(x)' h(y), or "concatenated" f([x, y]), which costs `batch` squared
            passes of its network for each step; g, h and f have two hidden layers.
        steps, batch, lr: updates of the critic by Adam, pairs of each, learning rate.
        hidden: width of the networks.
        clip: of SMILE.
        held: share of the pairs that are held out. resamples: of the bootstrap over their batches behind the interval,
            which does not cover the training of the critic.

    What is measured is a bound up to sampling: a weak critic says less, and no finite sample can confirm much more than
    log N nats (McAllester & Stratos 2020).

    Raises:
        DataError: rows do not pair, are too few, or hold NaN. ConfigError: an unknown bound or critic.

    >>> x = np.random.default_rng(0).normal(size=(400, 2))
    >>> told = information(x, x, steps=60, batch=32)
    >>> told.name, told.value < math.log(32), told.settings["ceiling"] == math.log(32)
    ('information (InfoNCE, separable)', True, True)
    """
    if bound not in BOUNDS:
        raise ConfigError(f"there is no bound {bound!r}; there are {', '.join(BOUNDS)}")
    a, b = (torch.from_numpy(_standard(as_vectors(rows))).float() for rows in (x, y))
    if len(a) != len(b):
        raise DataError(f"{len(a)} rows and {len(b)} rows do not pair; row i of one belongs to row i of the other")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(a), generator=generator)
    test, train = order.split([int(held * len(a)), len(a) - int(held * len(a))])
    if len(test) < batch or len(train) < batch:
        raise DataError(
            f"{len(a)} pairs leave {len(test)} to measure on and {len(train)} to train on, and a batch has {batch}; "
            "give more pairs or a smaller batch"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scores = make_critic(critic, a.shape[1], b.shape[1], hidden)
    optimiser = torch.optim.Adam(scores.parameters(), lr)
    trained = _logistic if bound in ("JensenShannon", "SMILE") else BOUNDS[bound]
    for _ in range(steps):
        rows = train[torch.randint(len(train), (batch,), generator=generator)]
        optimiser.zero_grad()
        (-trained(scores(a[rows], b[rows]))).backward()
        optimiser.step()
    read = partial(BOUNDS[bound], clip=clip) if bound == "SMILE" else BOUNDS[bound]
    with torch.inference_mode():
        parts = [rows for rows in test.split(batch) if len(rows) == batch]
        values = np.array([float(read(scores(a[rows], b[rows]).double())) for rows in parts])
    settings = {
        "bound": bound,
        "critic": critic,
        "steps": steps,
        "batch": batch,
        "hidden": hidden,
        "held_out": len(parts) * batch,
        "deviation": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        "ceiling": math.log(batch) if bound == "InfoNCE" else math.inf,
    }
    return bootstrap_mean(f"information ({bound}, {critic})", values, settings, resamples, seed)


def gaussian_information(width: int, correlation: float) -> float:
    """-(D / 2) log(1 - rho^2): the information, in nats, of two Gaussians whose D columns correlate pair by pair.

    >>> round(gaussian_information(20, 0.6), 4)
    4.4629
    """
    return -width / 2 * math.log1p(-(correlation**2))


def correlated_gaussians(n: int, width: int, information: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (n, width) of standard Gaussians that share so much information, in nats, column by column alike.

    >>> x, y = correlated_gaussians(4000, 2, information=1.0)
    >>> rho = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    >>> abs(gaussian_information(2, rho) - 1) < 0.1
    True
    """
    correlation = math.sqrt(-math.expm1(-2 * information / width))
    x, noise = np.random.default_rng(seed).normal(size=(2, n, width))
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


class Bilinear(nn.Module):
    """x' W y, linear in both."""

    def __init__(self, width: int, other: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Linear(other, width, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores (K, K) of every row with every other."""
        return x @ self.weight(y).T


class Separable(nn.Module):
    """g(x)' h(y): a network for each side, and the product of what they say."""

    def __init__(self, width: int, other: int, hidden: int) -> None:
        super().__init__()
        self.one, self.two = _network(width, hidden, 32), _network(other, hidden, 32)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores (K, K) of every row with every other."""
        return self.one(x) @ self.two(y).T


class Concatenated(nn.Module):
    """f([x, y]): one network sees both, for each of the K x K pairs."""

    def __init__(self, width: int, other: int, hidden: int) -> None:
        super().__init__()
        self.both = _network(width + other, hidden, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores (K, K) of every row with every other."""
        k = len(x)
        pairs = torch.cat([x.repeat_interleave(k, 0), y.repeat(k, 1)], 1)
        return self.both(pairs).view(k, k)


CRITICS = {"bilinear": Bilinear, "separable": Separable, "concatenated": Concatenated}


def make_critic(name: str, width: int, other: int, hidden: int = 128) -> nn.Module:
    """The critic of that name for rows of two widths; it gives the scores (K, K) of two batches of K rows.

    Raises ConfigError: there is none.

    >>> make_critic("concatenated", 3, 5)(torch.zeros(4, 3), torch.zeros(4, 5)).shape
    torch.Size([4, 4])
    """
    if name not in CRITICS:
        raise ConfigError(f"there is no critic {name!r}; there are {', '.join(CRITICS)}")
    return CRITICS[name](width, other, hidden)


def _network(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
    )


def _other(f: Tensor) -> Tensor:
    """The scores beside the diagonal."""
    return f[~torch.eye(len(f), dtype=torch.bool)]


def _log_mean_exp(values: Tensor) -> Tensor:
    return values.logsumexp(0) - math.log(len(values))


def _info_nce(f: Tensor) -> Tensor:
    return (f.diagonal() - f.logsumexp(1)).mean() + math.log(len(f))


def _nwj(f: Tensor) -> Tensor:
    return f.diagonal().mean() - (_log_mean_exp(_other(f)) - 1).exp()


def _donsker_varadhan(f: Tensor) -> Tensor:
    return f.diagonal().mean() - _log_mean_exp(_other(f))


def _logistic(f: Tensor) -> Tensor:
    return -softplus(-f.diagonal()).mean() - softplus(_other(f)).mean()


def _smile(f: Tensor, clip: float = 5.0) -> Tensor:
    return f.diagonal().mean() - _log_mean_exp(_other(f).clamp(-clip, clip))


def _jensen_shannon(f: Tensor) -> Tensor:
    return _nwj(f + 1)


BOUNDS: dict[str, Callable[..., Tensor]] = {
    "InfoNCE": _info_nce,
    "NWJ": _nwj,
    "DonskerVaradhan": _donsker_varadhan,
    "JensenShannon": _jensen_shannon,
    "SMILE": _smile,
}


def _standard(rows: np.ndarray) -> np.ndarray:
    spread = rows.std(axis=0)
    centred: np.ndarray = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return centred
