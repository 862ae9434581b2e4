from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.data import BoundSampler, EpochSampler, LabelSampler, one_of_each
from nearfar.errors import ConfigError, DataError


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 40), batch_size=st.integers(1, 50), drop_last=st.booleans(), seed=st.integers(0, 2**40))
def test_an_epoch_holds_every_row_at_most_once(n, batch_size, drop_last, seed):
    sampler = EpochSampler(n, batch_size, seed, drop_last)
    for epoch in (0, 3):
        steps = range(epoch * sampler.steps_per_epoch, (epoch + 1) * sampler.steps_per_epoch)
        batches = [sampler.batch(step) for step in steps]
        assert {sampler.epoch(step) for step in steps} == {epoch}
        assert all(len(batch) == sampler.batch_size for batch in batches[:-1])
        rows = np.concatenate(batches)
        assert len(set(rows.tolist())) == len(rows)
        assert len(rows) == (n - n % sampler.batch_size if drop_last else n)
        assert set(rows.tolist()) <= set(range(n))


def test_steps_per_epoch():
    assert EpochSampler(10, 4, 0).steps_per_epoch == 2
    assert EpochSampler(10, 4, 0, drop_last=False).steps_per_epoch == 3
    assert len(EpochSampler(10, 4, 0, drop_last=False).batch(2)) == 2
    assert EpochSampler(8, 4, 0, drop_last=False).steps_per_epoch == 2


@pytest.mark.parametrize("drop_last", [True, False])
def test_a_batch_larger_than_the_data_holds_all_rows(drop_last):
    sampler = EpochSampler(5, 512, 0, drop_last)
    assert (sampler.batch_size, sampler.steps_per_epoch) == (5, 1)
    assert sorted(sampler.batch(9)) == [0, 1, 2, 3, 4]


def label_sampler(seed: int = 0) -> LabelSampler:
    return LabelSampler(np.arange(60) % 7, 3, 2, seed)


@pytest.mark.parametrize("make", [lambda seed=0: EpochSampler(37, 5, seed), label_sampler])
def test_any_order_of_asking_gives_the_same_batches(make):
    forward = [make_one.batch(step).tolist() for make_one in [make()] for step in range(40)]
    asked, order = make(), np.random.default_rng(0).permutation(40)
    assert {int(step): asked.batch(int(step)).tolist() for step in order} == dict(enumerate(forward))
    assert [make(1).batch(step).tolist() for step in range(3)] != forward[:3]
    assert make().state() == make().state() != make(1).state()


@pytest.mark.parametrize("make", [lambda: EpochSampler(37, 5, 0), label_sampler])
def test_epochs_differ_and_batches_belong_to_the_caller(make):
    sampler = make()
    first = sampler.batch(0)
    assert first.dtype == np.int64
    assert first.tolist() != sampler.batch(sampler.steps_per_epoch).tolist()
    kept = sampler.batch(0).copy()
    sampler.batch(0)[:] = 0
    assert (sampler.batch(0) == kept).all()


def test_the_rows_dropped_change():
    sampler = EpochSampler(5, 4, 0)
    assert {(set(range(5)) - set(sampler.batch(epoch).tolist())).pop() for epoch in range(60)} == set(range(5))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    k=st.integers(1, 6),
    data=st.data(),
    seed=st.integers(0, 99),
)
def test_label_batches(sizes, k, data, seed):
    p = data.draw(st.integers(1, len(sizes)))
    labels = np.concatenate([np.repeat(np.arange(len(sizes)) * 3, sizes), [-1, -1]])
    sampler = LabelSampler(labels, p, k, seed)
    assert sampler.steps_per_epoch == max(1, sum(sizes) // (p * k))
    visits = np.zeros(len(sizes), int)
    uses = np.zeros(len(labels), int)
    for step in range(sampler.steps_per_epoch):
        batch = sampler.batch(step)
        groups = labels[batch].reshape(p, k)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == p and -1 not in groups
        for group in batch.reshape(p, k):
            times = np.unique(group, return_counts=True)[1]
            size = sizes[labels[group[0]] // 3]
            assert len(times) == min(k, size)
            assert times.max() - times.min() <= 1
        visits[groups[:, 0] // 3] += 1
        np.add.at(uses, batch, 1)
    assert visits.max() - visits.min() <= 1
    for label in range(len(sizes)):
        of_class = uses[labels == label * 3]
        if k <= sizes[label]:
            assert of_class.max() - of_class.min() <= 1


def test_errors():
    with pytest.raises(ConfigError, match="batch_size must be 1 or more, not 0"):
        EpochSampler(5, 0, 0)
    with pytest.raises(ConfigError, match="seed must be 0 or more, not -3"):
        EpochSampler(5, 1, -3)
    with pytest.raises(DataError, match="no rows to sample from"):
        EpochSampler(0, 1, 0)
    with pytest.raises(ConfigError, match="a step number is 0 or more, not -1"):
        EpochSampler(5, 1, 0).batch(-1)
    with pytest.raises(ConfigError, match="classes_per_batch=3, but only 2 classes have labelled rows"):
        LabelSampler(np.array([0, 1, -1]), 3, 1, 0)
    with pytest.raises(ConfigError, match="rows_per_class must be 1 or more, not 0"):
        LabelSampler(np.array([0, 1]), 1, 0, 0)


def test_bound_rows_stand_in_every_batch_after_those_of_the_sampler() -> None:
    labels = np.array([0, 0, 1, -1, 1, 2, 0, 0])
    bound = one_of_each(labels, seed=5)
    assert labels[bound].tolist() == [0, 1, 2]
    assert bound.tolist() == one_of_each(labels, seed=5).tolist()
    assert len({tuple(one_of_each(labels, seed=k)) for k in range(20)}) > 1
    inner = EpochSampler(8, 3, seed=1)
    sampler = BoundSampler(inner, bound)
    assert (sampler.batch_size, sampler.steps_per_epoch) == (6, inner.steps_per_epoch)
    for step in range(5):
        assert sampler.batch(step).tolist() == [*inner.batch(step).tolist(), *bound.tolist()]
        assert sampler.epoch(step) == inner.epoch(step)
    assert sampler.state() == {**inner.state(), "bound": bound.tolist()}


def test_nothing_to_bind_is_refused() -> None:
    with pytest.raises(DataError, match="no labelled rows to bind"):
        BoundSampler(EpochSampler(4, 2, seed=0), one_of_each(np.array([-1, -1, -1, -1]), seed=0))
