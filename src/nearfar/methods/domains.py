"""Places that should not matter: a penalty between random mixtures of the domains that items come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from ..contrast import Strategy
from ..data.batch import Batch
from ..data.sampling import BoundSampler, EpochSampler, LabelSampler, PlannedSampler
from ..data.source import Source
from ..errors import ConfigError, DataError
from ..models import Draws
from ..objectives import CORAL, MMD, split_domains
from .around import Around, AroundOptions, by_name, without
from .method import Contrast, Method

PENALTIES = {"coral": CORAL, "mmd": MMD}
EMBEDDING = "embedding of domains"  # among what a method projects
HOW = "a column with domain_column, folders with folders=domain/label, or `domains` in an archive"


def _listed(value: Any) -> Any:
    """A single name as a list; names that look like numbers as text."""
    return [str(name) for name in (value if isinstance(value, list | tuple) else [value])]


class DomainOptions(AroundOptions):
    """What is made of the domains that items come from, by any method."""

    penalty: Literal["coral", "mmd"] | None = Field(
        None, description="between embeddings of two random mixtures of the domains: coral, mmd, or none"
    )
    penalty_weight: float = Field(1.0, gt=0, description="of it beside the contrast; 0.1 to 10 in the paper")
    even_domains: bool | None = Field(
        None, description="as many rows of every domain in a batch; as published, with a penalty alone, when unset"
    )
    leave_out: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [], description="domains that nothing is learned from, by name; what was learned is then scored on them"
    )

    @property
    def asked(self) -> bool:
        """Whether anything of it was."""
        return bool(self.penalty or self.even_domains or self.leave_out)

    def learned(self, source: Source) -> Source:
        """The rows that are learned from.

        Raises:
            DataError: they say no domains, or of one alone. ConfigError: see `apart`.
        """
        source, _ = self.apart(source)
        if not (self.penalty or self.even_domains):
            return source
        setting = "penalty compares" if self.penalty else "even_domains evens out"
        there = 0 if source.domains is None else len(np.unique(source.domains[source.domains >= 0]))
        if there < 2:
            said = "one alone" if there else "none"
            raise DataError(f"{setting} two domains or more, and these data say of {said}; name {HOW}, or leave it out")
        return source

    def apart(self, source: Source) -> tuple[Source, Source | None]:
        """What is learned from, and the rows of the domains that are left out; None where none is.

        Raises:
            DataError: the data say no domains. ConfigError: there is no such domain, or no other.
        """
        if not self.leave_out:
            return source, None
        if source.domains is None:
            raise DataError(f"leave_out names domains, and these data say none; name {HOW}, or leave it out")
        names = list(source.domain_names)
        unknown = [name for name in self.leave_out if name not in names]
        if unknown or len(set(self.leave_out)) >= len(names):
            what = f"there is no domain {unknown[0]!r}" if unknown else "no domain would be left to learn from"
            raise ConfigError(f"leave_out = {', '.join(self.leave_out)}: {what}; there are {', '.join(names)}")
        out = np.isin(source.domains, [names.index(name) for name in self.leave_out])
        return source.select(np.flatnonzero(~out)), source.select(np.flatnonzero(out))


class Across(Around):
    """A method whose embeddings should not tell where items come from.

    The rows of every domain of a batch are parted at a random place; the first parts of all domains are one mixture,
    the rest the other, and how far embeddings of the two differ is added to the loss (`CORAL` or `MMD` of raw
    embeddings, as the published code has it, with all views of an item in one mixture). Rows of unknown domain are in
    neither; mixtures of fewer than two rows count 0. Several processes part the whole batch, all alike.
    Source: Chevalley et al. 2022, Invariant Causal Mechanisms through Distribution Matching (CausIRL);
    facebookresearch/DomainBed algorithms.py, AbstractCausIRL.
    """

    def __init__(self, method: Method, options: DomainOptions) -> None:
        super().__init__(method)
        self.across = options
        self.penalty = PENALTIES[options.penalty]() if options.penalty else None
        self.draws = Draws()
        if self.penalty is not None and {"joint", "with_boxes"} & set(method.asks):
            raise ConfigError(f"{method.name} makes no single embedding of a view; leave out penalty, or take simclr")

    def sampler(self, source: Source, batch_size: int, seed: int) -> EpochSampler | PlannedSampler | BoundSampler:
        """As many rows of every domain, where that is asked for; else that of the method.

        Raises:
            ConfigError: the method has batches of its own, or a batch is smaller than the number of domains.
        """
        own, even = self.method.sampler(source, batch_size, seed), self.across.even_domains
        orderly = isinstance(own, EpochSampler)
        if even is False or not (even or (self.penalty is not None and orderly)):
            return own
        if not orderly:
            raise ConfigError("even_domains and rows_per_class or binding both say what a batch holds; leave out one")
        assert source.domains is not None
        there = len(np.unique(source.domains[source.domains >= 0]))
        if batch_size < there:
            raise ConfigError(f"batch_size = {batch_size}, but there are {there} domains; ask for one of each at least")
        return LabelSampler(source.domains, there, min(batch_size, len(source)) // there, seed)

    def project(self, rows: Tensor) -> Tensor | dict[str, Tensor]:
        """What the method projects, and the embedding that its encoder made of the rows for it."""
        if self.penalty is None:
            return self.method.project(rows)
        seen: list[Tensor] = []
        hook = self.encoder.register_forward_hook(lambda _, __, made: seen.append(made))
        try:
            made = by_name(self.method.project(rows))
        finally:
            hook.remove()
        if not seen or not isinstance(seen[0], Tensor) or len(seen[0]) != len(rows):
            raise ConfigError(f"{self.name} makes no single embedding of a view; leave out penalty, or take simclr")
        return {**made, EMBEDDING: seen[0]}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """That of the method, and the penalty beside it."""
        if self.penalty is None:
            return self.method.contrast(projections, batch)
        said = self.method.contrast([without(view, EMBEDDING) for view in projections], batch)
        views = [view[EMBEDDING] for view, role in zip(projections, batch.roles, strict=True) if role != "far"]
        term = self.across.penalty_weight * self.discrepancy(views, batch)
        return Contrast(said.loss + term, {**said.terms, "penalty": term})

    def discrepancy(self, views: list[Tensor], batch: Batch) -> Tensor:
        """How far two random mixtures of the domains differ, over all views of the whole batch.

        Raises:
            DataError: the batch says no domains.
        """
        assert self.penalty is not None
        if batch.domains is None:
            raise DataError(f"penalty compares domains, and this batch says none; name {HOW}, or leave it out")
        domains = self.together(batch.domains).cpu()
        rows = [self.together(view) for view in views]
        generator = self.draws.generator("cpu")
        order = torch.randperm(len(domains), generator=generator)
        order = order[domains[order] >= 0]
        first = split_domains(domains[order], generator)
        mixtures = [order[part].to(rows[0].device) for part in (first, ~first)]
        if min(map(len, mixtures)) < 2:
            return 0 * torch.stack([view.sum() for view in rows]).sum()
        one, other = (torch.cat([view[mixture] for view in rows]) for mixture in mixtures)
        value: Tensor = self.penalty(one, other, strategy=Strategy())  # all rows are here by now
        return value

    def after_step(self, step: int, total_steps: int) -> None:
        """The method follows, and the next batch is parted elsewhere."""
        self.method.after_step(step, total_steps)
        self.draws.after_step(step)

    def describe(self) -> str:
        """The recipe of the method, and the penalty."""
        return f"{self.method.describe()}\n  penalty    {self.across.penalty} x {self.across.penalty_weight}"


def across_domains(method: Method, options: DomainOptions) -> Method:
    """The method with what the options ask for around it; the method itself where they ask nothing of it."""
    return Across(method, options) if options.penalty or options.even_domains else method
