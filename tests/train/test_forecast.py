"""The counts of a training, and the time that is left of it."""

from __future__ import annotations

import pytest

from clocks import Clock
from ftr.config.parse import registry_for
from ftr.config.resolve import resolve
from ftr.train.costs import Tensors
from ftr.train.forecast import Forecast, Pace
from ftr.train.progress import Meter
from trainings import REVIEWS


def test_the_meter_tells_epoch_time_left_loss_speed_and_step(time: Clock) -> None:
    meter = Meter(steps=4, epochs=2, _since=1000.0)
    assert meter.line() == "epoch 0.00/2 · loss nan · step 0/4"
    for loss in (2.0, 1.0):
        time.now += 5
        meter.add(10, loss)
        time.now += 100  # an evaluation, which does not count
        meter.mark()
    assert meter.line("about 0:10 left") == (
        "epoch 1.00/2 · about 0:10 left · loss 1.9000 · 2.0 examples/s · step 2/4"
    )


def test_speed_follows_a_slowdown_while_the_rate_stays_the_average(time: Clock) -> None:
    meter = Meter(steps=200, epochs=1, _since=1000.0)
    for seconds in [1] * 100 + [4] * 20:
        time.now += seconds
        meter.add(8, 1.0)
    assert " · 2.0 examples/s · " in meter.line()
    assert meter.step_seconds == 4
    assert meter.rate == 960 / 180


def test_the_first_step_is_slow_and_is_left_out_of_the_speed(time: Clock) -> None:
    meter = Meter(steps=9, epochs=1, _since=1000.0)
    for seconds, speed in ((10, 1.0), (1, 10.0), (1, 10.0)):
        time.now += seconds
        meter.add(10, 1.0)
        assert f" · {speed:.1f} examples/s · " in meter.line()
    assert meter.step_seconds == 1


def forecast(time: Clock, pace: Pace, **more: object) -> Forecast:
    """Return the forecast after 5 of 20 steps of 2 seconds, of two epochs on 40 rows."""
    settings = {**REVIEWS, "dataset": "sentiment-sample", "epochs": 2, **more}
    meter = Meter(steps=20, epochs=2, _since=1000.0)
    made = Forecast(
        config=resolve(settings, registry_for(settings)).config,
        tensors=Tensors(weights=1, gradients=1, optimizer=1, averages=0, saved=1),
        meter=meter,
        pace=pace,
        examples={"train": (40, 40), "validation": (20, 10), "test": (30, 30)},
        log=lambda line: None,
        elapsed=lambda: 15.0,
        steps_per_epoch=10,
    )
    made._since = 1000.0
    for _ in range(5):
        time.now += 2
        meter.add(4, 1.0)
    return made


def test_nothing_is_said_before_the_first_steps(time: Clock) -> None:
    made = forecast(time, Pace())
    made._began = (3, 6.0)
    assert made.left() is None
    assert made.shown() == ""


def test_time_left_has_steps_validations_and_the_last_evaluation(time: Clock) -> None:
    made = forecast(time, Pace(model=0.1, scores=0.01, validation=7.0, validating=0.0))
    steps = 15 * 2
    last = (20 + 30) * 0.1 + (10 + 30) * 0.01 * 3
    assert made.left() == pytest.approx(steps + 2 * 7 + last)
    assert made.shown() == "about 0:50 left"
    made.known = ("validation",)  # whose outputs the last validation has left
    assert made.left() == pytest.approx(steps + 2 * 7 + last - 20 * 0.1)
    made.known, made.in_fp32 = (), False
    assert made.left() == pytest.approx(steps + 2 * 7 + last + 50 * 0.1)
    made.final = False
    assert made.left() == pytest.approx(steps + 2 * 7)


def test_a_validation_that_was_not_made_yet_takes_a_part_of_a_step(time: Clock) -> None:
    made = forecast(time, Pace())  # half a second an example in training
    assert made.validation() == pytest.approx(20 * 0.5 / 3)


def test_what_is_done_beside_steps_lengthens_those_to_come(time: Clock) -> None:
    made = forecast(time, Pace(validation=7.0, validating=7.0))
    time.now += 7 + 5  # a validation, and a checkpoint that took half as long as the steps
    made.final = False
    assert made.left() == pytest.approx(15 * 2 * 1.5 + 2 * 7)


def test_trainings_that_follow_take_as_long_as_this_one(time: Clock) -> None:
    made = forecast(time, Pace(validation=7.0))
    made.final, made.after = False, 2
    assert made.left() == pytest.approx(44 + 2 * (15 + 44))


def test_early_stopping_makes_it_the_most(time: Clock) -> None:
    made = forecast(time, Pace(validation=7.0), **{"train.early_stopping_patience": 2})
    made.final = False
    assert made.shown() == "at most 0:44 left"
