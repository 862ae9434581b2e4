"""Classes nobody named, found because their proportions change together from one domain to the next.

    p(d|x) by a classifier of domains, out of fold    rows that it cannot tell apart are of one class
    Q = cluster frequencies in each domain            k-means over p(d|x); Q = p(cluster|y) p(y|d), by NMF
    p(y|x) = argmin_q KL(p(d|x), p(d|y) q),           q on the simplex
    p_d(y|x) ~ p(y|x) p(y|d) / p(y)                   y of a row of domain d: the largest of them

It holds where the rows of a class look the same in every domain (label shift), there are at least as many domains as
classes, and their proportions differ. Source: Roberts et al. 2022, Unsupervised Learning under Latent Label Shift;
acmi-lab/Latent-Label-Shift-DDFA, ddfa/components. There the classifier is a network, on rows it has not learned from,
the factors begin at random, and p(y|x) is found by least squares; here it is linear, on vectors, the factors begin at
the purest clusters, without which they need not be those of classes, and p(y|x) is found by likelihood.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation.logistic import Standardise, fit

FOLDS = 5
SURE = 3.0  # standard errors by which vectors must say something of their domain
STEPS = 200  # of the search for p(y|x)


@dataclass(frozen=True)
class Shift:
    """K classes in D domains.

    Attributes:
        numbers: (N,) the class of each row, 0 to K - 1 in no order.
        proportions: (K, D) p(y|d); columns sum to 1.
        probabilities: (N, K) p_d(y|x).
        information: nats that a vector says of its domain, out of fold; 0 where domains cannot be told apart.
    """

    numbers: np.ndarray
    proportions: np.ndarray
    probabilities: np.ndarray
    information: float


def latent_shift(
    vectors: np.ndarray, domains: np.ndarray, count: int, clusters: int | None = None, seed: int = 0
) -> Shift:
    """Find `count` classes from vectors (N, D') and the domain (N,) of each, numbers from 0.

    clusters: of k-means over p(d|x), at least `count`; twice as many when None.

    Raises ConfigError: fewer clusters than classes; DataError: fewer domains than classes, a domain with fewer than 5
    rows, or domains that cannot be told apart, so that nothing shifts that could be followed.

    >>> rng, y = np.random.default_rng(0), np.arange(400) % 2
    >>> domains = np.where(rng.random(400) < 0.2 + 0.6 * y, 1, 0)
    >>> found = latent_shift(np.eye(2)[y] + 0.1 * rng.normal(size=(400, 2)), domains, 2)
    >>> bool(abs(np.mean(found.numbers == y) - 0.5) > 0.45), found.proportions.shape
    (True, (2, 2))
    """
    sizes = np.bincount(domains)
    clusters = 2 * count if clusters is None else clusters
    if not 2 <= count <= clusters < len(vectors):
        raise ConfigError(
            f"of {len(vectors)} rows there can be 2 or more classes, and as many clusters at least, not {count} "
            f"classes and {clusters} clusters"
        )
    if len(sizes) < count or sizes.min() < FOLDS:
        raise DataError(
            f"{count} classes need {count} domains of {FOLDS} rows or more, and there are {len(sizes)}, the smallest "
            f"of {sizes.min()} rows; ask for fewer classes"
        )
    shares = sizes / sizes.sum()
    posterior = domain_posterior(vectors, domains, seed)
    own = posterior[np.arange(len(domains)), domains]
    gain = np.log(np.maximum(own, 1e-12)) - np.log(shares[domains])
    information = float(gain.mean())
    if information <= SURE * gain.std() / np.sqrt(len(gain)):
        raise DataError(
            "the domains cannot be told apart by their vectors, so that nothing shifts from one to the next; classes "
            "cannot be found by it"
        )
    proportions = class_proportions(frequencies(posterior, domains, clusters, seed), count)
    joint = proportions * shares  # p(y, d)
    of_class = joint.sum(axis=1, keepdims=True)
    plain = mixture(posterior, (joint / np.maximum(of_class, 1e-12)).T)
    made = plain * (proportions / np.maximum(of_class, 1e-12)).T[domains]
    total = made.sum(axis=1, keepdims=True)
    made = np.where(total > 0, made / np.where(total > 0, total, 1), plain)
    return Shift(made.argmax(axis=1), proportions, made, information)


def domain_posterior(vectors: np.ndarray, domains: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, D) p(d|x) by logistic regression, each fifth of the rows by a fit on the others."""
    fold = np.empty(len(domains), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for domain in np.unique(domains):
        rows = rng.permutation(np.flatnonzero(domains == domain))
        fold[rows] = np.arange(len(rows)) % FOLDS
    found, strength = np.zeros((len(domains), int(domains.max()) + 1)), None
    for number in range(FOLDS):
        held = fold == number
        scale = Standardise(vectors[~held])
        model = fit(scale(vectors[~held]), domains[~held], strength, seed=seed)
        strength = model.strength  # chosen once
        found[held] = model.probabilities(scale(vectors[held]))
    return found


def frequencies(posterior: np.ndarray, domains: np.ndarray, clusters: int, seed: int = 0) -> np.ndarray:
    """(m, D) how frequent each of m clusters of p(d|x) is in every domain; columns sum to 1."""
    from sklearn.cluster import KMeans

    group = KMeans(clusters, n_init=5, max_iter=100, random_state=seed).fit_predict(posterior)
    table = np.zeros((clusters, posterior.shape[1]))
    np.add.at(table, (group, domains), 1)
    return np.asarray(table / table.sum(axis=0))


def class_proportions(table: np.ndarray, count: int) -> np.ndarray:
    """(K, D) p(y|d) from cluster frequencies (m, D): factors that are not negative, from the purest clusters onwards.

    Where every class has a cluster of its own the factors are right from the start; the factorisation moves them where
    clusters are mixed.

    >>> class_proportions(np.array([[0.45, 0.1], [0.45, 0.1], [0.1, 0.8]]), 2).round(3).tolist()
    [[0.1, 0.8], [0.9, 0.2]]
    """
    from scipy.optimize import nnls
    from sklearn.decomposition import non_negative_factorization

    purest = table[purest_rows(table, count)]
    left = np.stack([nnls(purest.T, row)[0] for row in table])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: it begins at a solution, or near one
        left, right, _ = non_negative_factorization(
            table, W=left, H=purest.copy(), n_components=count, init="custom", max_iter=500
        )
    found = left.sum(axis=0)[:, None] * right
    return np.asarray(found / np.maximum(found.sum(axis=0), 1e-12))


def purest_rows(table: np.ndarray, count: int) -> np.ndarray:
    """(K,) the rows (m, D) of which all others are mixtures, as far as so few can be: successive projections.

    Each row is scaled to sum 1; again and again the longest is taken and its direction removed from all. Source: Araujo
    et al. 2001; Gillis & Vavasis 2014, algorithm 1.

    >>> purest_rows(np.array([[1.0, 1.0], [4.0, 1.0], [1.0, 9.0]]), 2).tolist()
    [2, 1]
    """
    rows = table / np.maximum(table.sum(axis=1, keepdims=True), 1e-12)
    taken = []
    for _ in range(count):
        taken.append(int((rows**2).sum(axis=1).argmax()))
        direction = rows[taken[-1]] / max(float(np.linalg.norm(rows[taken[-1]])), 1e-12)
        rows = rows - np.outer(rows @ direction, direction)
    return np.array(taken)


def mixture(posterior: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """(N, K) the weights on the simplex whose mixture of columns (D, K) is closest to each row (N, D), by EM.

    >>> mixture(np.array([[0.5, 0.5], [0.8, 0.2]]), np.array([[0.8, 0.2], [0.2, 0.8]])).round(2).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    weights = np.full((len(posterior), parts.shape[1]), 1 / parts.shape[1])
    for _ in range(STEPS):
        weights *= (posterior / np.maximum(weights @ parts.T, 1e-12)) @ parts
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return weights
