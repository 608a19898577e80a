"""Systems side by side: which differences are real, and which may be chance."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Difference",
    "Interval",
    "compare_systems",
    "mean_interval",
    "paired_difference",
    "shared_stories",
    "sign_flip_p",
]

_RESAMPLES = 10_000
_LEVEL = 0.95
_ALPHA = 0.05
_EXACT_UP_TO = 14  # stories: 2^14 sign patterns

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over stories with its 95 % bootstrap interval; `count` stories."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A system less the baseline on the stories that both have.

    Attributes:
        mean: of the differences.
        low: of its 95 % bootstrap interval.
        high: likewise.
        relative: mean of the system over mean of the baseline, less one; None if the baseline's mean is not positive.
        relative_low: of the interval of `relative`.
        relative_high: likewise.
        wins: stories on which the system is above the baseline.
        count: stories.
        p: two-sided, of the sign-flip test; after `compare_systems` adjusted for all systems compared (Holm).
        real: the interval leaves out 0 and p is at most 0.05.
    """

    mean: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    wins: int
    count: int
    p: float
    real: bool


def _resampled(count: int, seed: int) -> npt.NDArray[np.int64]:
    """``[10000, count]``: stories drawn with replacement."""
    return np.random.default_rng(seed).integers(0, count, (_RESAMPLES, count))


def _limits(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def mean_interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    """The mean over stories with its percentile bootstrap interval (Efron 1979): stories are what is resampled."""
    data = np.asarray(values, np.float64)
    low, high = _limits(data[_resampled(len(data), seed)].mean(axis=1))
    return Interval(float(data.mean()), low, high, len(data))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the paired sign-flip (permutation) test (Fisher 1935): were the signs of the differences chance?

    Exact up to 14 stories, from 10,000 random patterns (one of which is what was seen) beyond. With n stories it cannot
    be below 2 / 2^n: with five nothing can be shown at 0.05, however large.
    """
    data = np.asarray(differences, np.float64)
    count = len(data)
    seen = abs(float(data.sum()))
    if count <= _EXACT_UP_TO:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=count)))
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), (_RESAMPLES, count))
        signs[0] = 1
    return float((np.abs(signs @ data) >= seen - 1e-12 * (1 + seen)).mean())


def paired_difference(system: Sequence[float], baseline: Sequence[float], *, seed: int = 0) -> Difference:
    """A system less a baseline on the same stories, in the same order; p is that of this comparison alone."""
    one, other = np.asarray(system, np.float64), np.asarray(baseline, np.float64)
    differences = one - other
    chosen = _resampled(len(one), seed)
    low, high = _limits(differences[chosen].mean(axis=1))
    p = sign_flip_p(differences.tolist())
    relative: tuple[float | None, float | None, float | None] = (None, None, None)
    below = other[chosen].mean(axis=1)
    if other.mean() > 0 and below.min() > 0:
        relative = (float(one.mean() / other.mean()) - 1, *_limits(one[chosen].mean(axis=1) / below - 1))
    return Difference(
        mean=float(differences.mean()),
        low=low,
        high=high,
        relative=relative[0],
        relative_low=relative[1],
        relative_high=relative[2],
        wins=int((differences > 0).sum()),
        count=len(one),
        p=p,
        real=_is_real(low, high, p),
    )


def _over(values: Mapping[str, float], stories: Collection[str]) -> Interval | None:
    found = [value for story, value in values.items() if story in stories]
    return mean_interval(found) if found else None


def _is_real(low: float, high: float, p: float) -> bool:
    return (low > 0 or high < 0) and p <= _ALPHA


def _holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p (1979): the chance of a single false alarm among all of them stays below alpha."""
    order = np.argsort(ps, kind="stable")
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, ps[index] * (len(ps) - rank)))
        adjusted[index] = highest
    return adjusted


Numbers = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""By system, story and metric."""


def shared_stories(numbers: Numbers, key: str, controls: Collection[str] = ()) -> frozenset[str]:
    """The stories for which all systems have a number on a metric: only over these do means say which is better.

    A system without any number on it is left out, and so are controls, unless there is nothing else.
    """
    measured = {
        system: {story for story, one in stories.items() if one.get(key) is not None}
        for system, stories in numbers.items()
    }
    asked = [stories for system, stories in measured.items() if stories and system not in controls]
    asked = asked or [stories for stories in measured.values() if stories]
    return frozenset(set.intersection(*asked)) if asked else frozenset()


def compare_systems(
    numbers: Numbers,
    keys: Sequence[str],
    baseline: str,
    *,
    controls: Collection[str] = (),
) -> dict[str, Any]:
    """Every metric of every system, and how each system differs from the baseline.

    Args:
        numbers: see `Numbers`.
        keys: the metrics.
        baseline: one of the systems.
        controls: systems that nobody asks about: they do not make the comparison of the others harder.

    Returns:
        ``{metric: {system: {"value": Interval | None, "own": Interval, "difference": Difference | None}}}``, without
        systems that have no number. "value" is over `shared_stories`, so that those of different systems can be
        compared: where no story is shared it is "own", that over all stories of the system, and it is None for a
        control that has none of them. A difference needs two stories that both systems have; its p is adjusted over the
        systems (Holm).
    """
    result: dict[str, Any] = {}
    for key in keys:
        values = {
            system: {story: value for story, one in stories.items() if (value := one.get(key)) is not None}
            for system, stories in numbers.items()
        }
        shared = shared_stories(numbers, key, controls)
        rows: dict[str, Any] = {
            system: {"value": _over(of, shared or of.keys()), "own": _over(of, of.keys()), "difference": None}
            for system, of in values.items()
            if of
        }
        compared = []
        for system in rows:
            common = sorted(values[system].keys() & values.get(baseline, {}).keys())
            if system != baseline and len(common) > 1:
                mine, theirs = ([values[name][story] for story in common] for name in (system, baseline))
                compared.append((system, paired_difference(mine, theirs)))
        asked = [found.p for system, found in compared if system not in controls]
        adjusted = iter(_holm(asked))
        for system, found in compared:
            p = found.p if system in controls else next(adjusted)
            rows[system]["difference"] = replace(found, p=p, real=_is_real(found.low, found.high, p))
        result[key] = rows
    return result
