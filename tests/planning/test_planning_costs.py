"""The arithmetic of plans: every number worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nearfar.planning import Plan
from nearfar.planning.costs import HOLES, Costs, Curve, Encoding, Held, Job, Line, predict

HELD = Held(weights=100, gradients=90, optimiser=180, copies=50, queues=7)
WHOLE = Encoding(peak=Line(1000, 30), blocks=(20,), learning=Line(0, 0.3), forward=Line(0, 0.1), measured=50)
SMALL = Encoding(peak=Line(500, 40), blocks=(10, 15), learning=Line(0, 0.2), forward=Line(0, 0.05), measured=50)
COSTS = Costs(
    process=5000,
    encoding=[WHOLE, SMALL],
    scores_bytes=Curve(2, 0.5),
    scores_seconds=Curve(0.01, 0.001),
    views_seconds=0.02,
    update_seconds=0.25,
    update_bytes=180,
    fresh_seconds=0,
    aside=True,
)
JOB = Job(items=1000, batch_size=100, micro_batch=None, row=3, views=[8, 4], projection=6, steps=50)


@pytest.mark.parametrize(
    ("small", "large", "want"),
    [
        ((10, 130), (30, 190), Line(100, 3)),
        ((10, 50), (30, 190), Line(0, 190 / 30)),  # below zero at its start: through the origin
        ((10, 200), (30, 190), Line(190, 0)),  # falling: as high as the last
        ((10, 50), (10, 50), Line(0, 5)),
    ],
)
def test_a_line_through_two_points_falls_nowhere(small: tuple, large: tuple, want: Line):
    made = Line.through(small, large)
    assert (made.fixed, made.each) == pytest.approx((want.fixed, want.each))
    assert made(large[0]) == pytest.approx(large[1])


@pytest.mark.parametrize(
    ("small", "large", "want"),
    [
        ((10, 230), (20, 860), Curve(3, 2)),
        ((10, 100), (20, 150), Curve(7.5, 0)),  # slower than a straight line: a straight line
        ((10, 1), (20, 400), Curve(0, 1)),  # faster than a square: a square
        ((10, 50), (10, 50), Curve(5, 0)),
    ],
)
def test_a_curve_through_two_points_has_no_negative_part(small: tuple, large: tuple, want: Curve):
    made = Curve.through(small, large)
    assert (made.each, made.pair) == pytest.approx((want.each, want.pair))
    assert made(large[0]) == pytest.approx(large[1])


def test_all_at_once():
    made = predict(JOB, HELD, COSTS)
    assert made.standing == {
        "process and data": 5000, "weights": 100, "gradients": 90, "optimiser": 180, "moving copies": 50, "queues": 7,
        "views": 100 * 12 * 2 + 100 * 3, "projections": 2 * 100 * 6, "activations": 45 * 100,
        "kept by allocator": HOLES * (5200 + 180 + 2000 + 100 * 12 * 2 + 2 * 100 * 6 + 45 * 100),
    }  # fmt: skip
    # One view goes back while the activations of both are there: 1000 + 3000 - 2000, and 500 + 4000 - 2500.
    # A checkpoint comes when the activations are gone, and finds room where they were.
    assert made.passing == {"scores": 200 + 5000, "update": 180, "backward pass": 2000, "checkpoint": 2000}
    assert made.peak == 5000 + 100 + 90 + 180 + 50 + 7 + 2700 + 1200 + 4500 + 5200 + HOLES * 15480
    assert made.seconds == pytest.approx({"encoder": 50, "scores": 11, "update": 0.25, "waiting for views": 0})
    assert made.step == pytest.approx(61.25)


def test_micro_batches_hold_the_activations_of_one_and_encode_twice():
    made = predict(replace(JOB, micro_batch=10), HELD, COSTS)
    assert "activations" not in made.standing
    assert made.passing == {"scores": 5200, "update": 180, "activations": 1300, "checkpoint": 1300}
    assert made.seconds["encoder"] == pytest.approx(65)
    assert predict(replace(JOB, micro_batch=100), HELD, COSTS) == predict(JOB, HELD, COSTS)


def test_each_micro_batch_has_a_cost_of_its_own():
    slow = replace(WHOLE, learning=Line(2, 0.3), forward=Line(1, 0.1))
    costs = replace(COSTS, encoding=[slow])
    assert predict(JOB, HELD, costs).seconds["encoder"] == pytest.approx(2 + 30)
    assert predict(replace(JOB, micro_batch=10), HELD, costs).seconds["encoder"] == pytest.approx(10 * (3 + 4))


def test_the_longest_rows_share_a_micro_batch():
    # Of ten rows one is 4, one 2 and eight 0.5 of the mean.
    costs = replace(COSTS, encoding=[replace(WHOLE, lengths=(4.0, 2.0, *[0.5] * 8))])
    found = {m: predict(replace(JOB, micro_batch=m), HELD, costs).passing["activations"] for m in (5, 10, 20, 50)}
    assert found == pytest.approx({5: 1000 + 30 * 20, 10: 1000 + 30 * 40, 20: 1000 + 30 * 60, 50: 1000 + 30 * 75})
    assert predict(JOB, HELD, costs).standing["activations"] == 20 * 100


def test_large_blocks_are_given_anew_where_they_were_small_when_measured():
    # A block is 25 MiB of 50 rows, and 50 MiB of 100; another is small of both, a third large of both.
    net = replace(WHOLE, blocks=(2**19, 100, 2**20))
    costs = replace(COSTS, encoding=[net], fresh_seconds=1e-6)
    plain = predict(JOB, HELD, replace(costs, fresh_seconds=0)).seconds["encoder"]
    assert predict(JOB, HELD, costs).seconds["encoder"] - plain == pytest.approx(2 * 100 * 2**19 * 1e-6)
    assert predict(replace(JOB, micro_batch=10), HELD, costs).seconds["encoder"] == pytest.approx(40)


def test_large_blocks_of_a_checkpoint_find_no_room_where_activations_were():
    mib = 2**20
    held = replace(HELD, weights=100 * mib, optimiser=200 * mib, large=240 * mib)  # and 57 bytes of the rest
    net = replace(WHOLE, peak=Line(0, mib), blocks=(mib / 4, mib / 2))  # 25 and 50 MiB of 100 rows
    costs = replace(COSTS, encoding=[net])
    found = {m: predict(replace(JOB, micro_batch=m), held, costs).passing["checkpoint"] / mib for m in (None, 10)}
    # All at once: 75 MiB of activations, of which the smaller third stays with the allocator, and a third of 25 more.
    # The file, the large tensors, and 60 MiB of small ones, which take the room of 33 and 27 beside it.
    assert found[None] == pytest.approx(300 + 240 + 60 - 75, rel=1e-6)
    # A micro-batch leaves room for 10 MiB, all of it small.
    assert found[10] == pytest.approx(300 + 240 + 60, rel=1e-6)


def test_views_are_waited_for_where_they_take_longer_or_nobody_else_makes_them():
    slow = replace(COSTS, views_seconds=1.0)
    assert predict(JOB, HELD, slow).seconds["waiting for views"] == pytest.approx(100 - 61.25)
    assert predict(JOB, HELD, replace(slow, aside=False)).step == pytest.approx(161.25)


def test_devices_share_the_rows_and_every_one_meets_all():
    made = predict(replace(JOB, devices=4), HELD, COSTS)
    assert made.standing["views"] == 25 * 12 * 2 + 25 * 3
    assert made.standing["gradients"] == 180
    assert made.standing["rows of others"] == 4 * 25 * 6
    assert made.passing["scores"] == 2 * 25 + 0.5 * 25 * 100
    # Of two rows on different devices both compute the score, which one alone would compute once.
    assert made.seconds["scores"] == pytest.approx(0.25 + 2 * 0.001 * 25 * 100)
    gathered = predict(replace(JOB, devices=4, spread="gathered", symmetric=False), HELD, COSTS)
    assert gathered.standing["rows of others"] == 2 * 100 * 6
    assert gathered.seconds["scores"] == pytest.approx(0.25 + 0.001 * 25 * 100)


def test_blocks_from_32_mib_on_are_given_back_at_once():
    # Of 100 rows: views of 100 MiB and of 800 bytes, activations of 100 MiB and of 2000 bytes.
    large = replace(WHOLE, peak=Line(0, 2**20 + 30), blocks=(2**20, 20))
    made = predict(replace(JOB, views=[2**20, 8]), HELD, replace(COSTS, encoding=[large]))
    going = 100 * (30 - 20)  # the rest of the backward pass, in proportion
    small = 20 / (2**20 + 20)
    assert made.standing["kept by allocator"] == pytest.approx(
        HOLES * (5200 + 180 + small * going + 2 * 800 + 1200 + 2000), rel=1e-6
    )


def test_what_is_prepared_stands_all_through_a_step_and_is_made_before_there_are_activations():
    costs = replace(COSTS, preparing_bytes=[Curve(500, 0), Curve(10, 4)], preparing_seconds=Curve(0.1, 0.01))
    made = predict(replace(JOB, prepared=24, micro_batch=10), HELD, costs)
    assert made.standing["prepared views"] == 2400
    assert made.passing["preparing"] == 500 * 100 - 2400
    assert made.seconds["preparing"] == pytest.approx(10 + 100)
    whole = predict(replace(JOB, prepared=24), HELD, costs)
    assert whole.passing["preparing"] == 500 * 100 - 2400 - 4500


def test_a_gpu_holds_the_views_of_one_batch():
    assert predict(replace(JOB, on_cpu=False), HELD, COSTS).standing["views"] == 100 * 12 + 100 * 3


# Advice --------------------------------------------------------------------------

MIB = 2**20
# 1 MiB of activations per row, 2 MiB while it goes back; everything else next to nothing.
NET = Encoding(Line(0, 2 * MIB), (MIB,), Line(0, 0.03), Line(0, 0.01), measured=512)
HEAVY = Costs(0, [NET], Curve(0, 0), Curve(0, 0), 0, 0, 0, 0, True)
NOTHING = Held(0, 0, 0, 0, 0)


def heavy(memory: float, micro_batch: int | None = None) -> Plan:
    sizes: dict[str, Any] = {"row": 0, "views": [0], "projection": 0}
    job = Job(items=5000, batch_size=2000, micro_batch=micro_batch, **sizes, steps=7, on_cpu=False)
    return Plan(job, NOTHING, HEAVY, memory)


def test_advice_where_it_fits():
    made = heavy(5000 * MIB)
    assert made.fits and made.peak == 4000 * MIB
    assert made.advice == "It fits: 3.91 GiB of 4.88 GiB that are there."
    assert made.seconds == pytest.approx(7 * 60)


def test_advice_where_a_micro_batch_helps():
    made = heavy(600 * MIB)
    assert not made.fits
    assert (
        made.advice
        == "It does not fit: 3.91 GiB of 600.0 MiB. With micro-batch 256 it needs 512.0 MiB, and 80.00 s a step."
    )
    assert made.with_micro_batch(256).fits and not made.with_micro_batch(1024).fits


def test_advice_where_nothing_helps():
    assert heavy(20 * MIB, 64).advice == (
        "It does not fit: 128.0 MiB of 20.0 MiB. The least is 32.0 MiB, with micro-batch 16. Take a smaller batch or "
        "encoder, or more devices."
    )


def test_the_table_names_the_parts_the_sum_and_the_alternatives():
    lines = str(heavy(600 * MIB)).splitlines()
    assert lines[0] == "batch of 2000, no micro-batches, 7 steps"
    assert "  activations           1.95 GiB" in lines
    assert "  backward pass         1.95 GiB   in turn: the largest counts" in lines
    assert "  peak                  3.91 GiB" in lines
    assert "  the run                7.0 min" in lines
    assert "  micro-batch 1024      2.00 GiB     80.00 s a step" in lines
    assert not any(line.startswith("  weights") for line in lines)  # nothing of it
