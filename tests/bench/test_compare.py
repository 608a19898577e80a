"""Which differences are real: the statistics, against cases that can be worked out."""

from __future__ import annotations

import numpy as np
import pytest

from storymem.bench.compare import compare_systems, mean_interval, paired_difference, shared_stories, sign_flip_p


def test_the_mean_with_its_interval() -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    found = mean_interval(values)
    assert found.mean == pytest.approx(0.35)
    assert found.count == 6
    standard_error = np.std(values) / np.sqrt(6)
    assert found.low == pytest.approx(0.35 - 1.96 * standard_error, abs=0.01)
    assert found.high == pytest.approx(0.35 + 1.96 * standard_error, abs=0.01)
    assert mean_interval(values) == found  # the same every time


def test_sign_flips_are_counted_exactly() -> None:
    assert sign_flip_p([1, 1, 1]) == 2 / 8
    assert sign_flip_p([1, -1]) == 1
    assert sign_flip_p([3, 1, -1]) == 6 / 8  # |sum| of 3 or more: +++, ++-, +-+, and their opposites
    assert sign_flip_p([0.1] * 20) < 0.001
    assert 0.5 < sign_flip_p([(-1) ** i * 0.1 + 0.001 for i in range(20)]) <= 1


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(60):
        found = paired_difference(rng.normal(0.1, 0.2, 25).tolist(), rng.normal(0, 0.2, 25).tolist(), seed=seed)
        covered += found.low <= 0.1 <= found.high
    assert 52 <= covered <= 60


def test_pairing_finds_what_the_spread_of_stories_would_hide() -> None:
    stories = np.linspace(0.2, 0.8, 8)
    noise = np.array([0.01, -0.01, 0.005, 0, -0.005, 0.01, 0, -0.01])
    found = paired_difference(stories + 0.05 + noise, stories)
    assert found.real
    assert found.mean == pytest.approx(0.05, abs=0.001)
    assert found.wins == 8
    assert found.relative == pytest.approx(0.1, abs=0.003)
    assert mean_interval(stories).high > mean_interval(stories + 0.05).low


def test_five_stories_show_nothing() -> None:
    assert not paired_difference([0.5, 0.6, 0.7, 0.8, 0.9], [0.1, 0.2, 0.3, 0.4, 0.5]).real


def stories(values: list[float]) -> dict[str, dict[str, float | None]]:
    return {f"s{i}": {"m": value} for i, value in enumerate(values)}


def test_only_common_stories_are_compared() -> None:
    numbers = {"base": stories([0.1] * 8), "new": stories([0.3] * 7)}
    numbers["new"]["s9"] = {"m": 99.0}
    numbers["base"]["s0"] = {"m": None}
    found = compare_systems(numbers, ["m"], "base")["m"]
    assert found["new"]["difference"].count == 6
    assert found["new"]["difference"].mean == pytest.approx(0.2)
    assert found["base"]["difference"] is None
    assert [found[name]["own"].count for name in ("base", "new")] == [7, 8]


def test_means_of_systems_are_over_the_stories_that_all_have() -> None:
    """One that fails on the hardest stories does not come out above one that is better on every story of both."""
    numbers = {"ours": stories([0.6] * 5 + [0.2]), "theirs": stories([0.5] * 5), "real": stories([0.9] * 4)}
    numbers["unmeasured"] = {"s0": {"m": None}}
    found = compare_systems(numbers, ["m"], "theirs", controls=["real"])["m"]
    assert set(found) == {"ours", "theirs", "real"}
    assert found["ours"]["value"] == mean_interval([0.6] * 5)
    assert found["theirs"]["value"] == mean_interval([0.5] * 5)
    assert found["ours"]["own"].mean == pytest.approx(0.533, abs=0.001)
    assert found["ours"]["own"].count == 6
    assert found["real"]["value"].count == 4  # a control takes no story from systems
    assert shared_stories(numbers, "m", ["real"]) == {f"s{i}" for i in range(5)}


def test_without_a_shared_story_means_are_each_systems_own() -> None:
    numbers = {"one": stories([0.1, 0.2]), "two": {"other": {"m": 0.4}}}
    found = compare_systems(numbers, ["m"], "one")["m"]
    assert not shared_stories(numbers, "m")
    assert [found[name]["value"].count for name in ("one", "two")] == [2, 1]
    assert shared_stories({"one": stories([0.1, 0.2])}, "m", ["one"]) == {"s0", "s1"}  # nothing but controls
    numbers = {"one": stories([0.1, 0.2]), "real": {"other": {"m": 0.4}}}
    assert compare_systems(numbers, ["m"], "one", controls=["real"])["m"]["real"]["value"] is None


def test_many_comparisons_make_each_harder() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.6, 6)
    alone = compare_systems({"base": stories(base), "new": stories(base + 0.1)}, ["m"], "base")
    assert alone["m"]["new"]["difference"].real  # 2 / 2^6 = 0.031
    others = {f"o{i}": stories(base + rng.normal(0, 0.05, 6)) for i in range(4)}
    many = compare_systems({"base": stories(base), "new": stories(base + 0.1), **others}, ["m"], "base")
    assert not many["m"]["new"]["difference"].real  # 5 x 0.031


def test_a_metric_that_nobody_has_is_empty() -> None:
    assert compare_systems({"base": stories([0.1, 0.2])}, ["other"], "base") == {"other": {}}
