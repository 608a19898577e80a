"""The time left, on a clock of the test's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from filming import Studio

from storymem.film.pace import Pace
from storymem.film.plan import PlannedShot


@pytest.fixture
def shots(finished: Studio) -> list[PlannedShot]:
    """Three shots of 5, 81 and 81 frames (2, 21 and 21 latent ones) that see nothing."""
    short, long, last = finished.plan()[:3]
    lengths = ((short, 5), (long, 81), (last, 81))
    return [replace(shot, num_frames=frames, memory=(), take=None, lacking=1) for shot, frames in lengths]


class Watch:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_long_shots_are_known_to_take_longer(shots: list[PlannedShot]) -> None:
    watch = Watch()
    pace = Pace(shots, shots, steps=3, model="m", max_memory=0, clock=watch)
    assert pace.estimate() is None
    pace.begin(shots[0])
    watch.now += 30  # the first step: the model is loaded
    pace.step(1, 3)
    for done in (2, 3):
        watch.now += 0.2  # 0.1 s per latent frame
        event = pace.step(done, 3)
    assert event.seconds_per_step == pytest.approx(0.2)
    assert event.film_seconds_left == pytest.approx(2 * 3 * 21 * 0.1)
    watch.now += 0.5  # 0.1 s per frame for what comes after the last step
    pace.end()
    pace.begin(shots[1])
    watch.now += 2.1
    event = pace.step(1, 3)
    assert event.shot_seconds_left == pytest.approx(2 * 2.1 + 8.1)
    assert event.film_seconds_left == pytest.approx(2 * 2.1 + 8.1 + 3 * 2.1 + 8.1)


def test_memory_makes_steps_longer_and_an_undecided_one_is_taken_for_full(shots: list[PlannedShot]) -> None:
    watch = Watch()
    todo = [shots[1], replace(shots[2], memory=None)]
    pace = Pace(todo, todo, steps=2, model="m", max_memory=10, clock=watch)
    pace.begin(todo[0])
    for done in (1, 2):
        watch.now += 2.1
        event = pace.step(done, 2)
    assert event.film_seconds_left == pytest.approx(2 * (21 + 10) * 0.1)


def test_a_shot_that_nobody_planned_to_make_is_no_trouble(shots: list[PlannedShot]) -> None:
    """Remaking one shot can make another stale that was right before."""
    watch = Watch()
    pace = Pace(shots, shots[:1], steps=1, model="m", max_memory=0, clock=watch)
    for shot in shots:
        pace.begin(shot)
        watch.now += 1
        assert pace.step(1, 1).film_seconds_left >= 0
        pace.end()
