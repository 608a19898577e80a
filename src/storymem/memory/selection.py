"""Which frames of a shot become keyframes: pure functions of embeddings and scores.

The rules are the method's (arXiv 2512.19539 and its public code), pinned by its 32 reference cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FrameScores", "Selection", "drop_repetitions", "select_keyframes"]

_SECOND_FROM = 2  # only the first keyframe may be frame 0 or 1
_THRESHOLD_DIGITS = 10  # tau is start - k * step, free of the error that repeated subtraction would add up
_MOST_AHEAD = 16  # frames scored in one go when frame after frame turns out too bad

_Numbers = npt.NDArray[np.floating]

FrameScores = Callable[[Sequence[int]], _Numbers]
"""Gives the quality of the frames at these indices, ``[len(indices)]``; called at most once per frame."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen in one shot.

    Attributes:
        indices: the frames, in order; empty when no frame is good enough.
        threshold: tau at which so many were left.
    """

    indices: tuple[int, ...]
    threshold: float


def select_keyframes(
    embeddings: _Numbers,
    quality: _Numbers | FrameScores | None,
    *,
    similarity_threshold: float = 0.9,
    threshold_step: float = 0.01,
    max_keyframes: int = 3,
    quality_threshold: float = 3.0,
) -> Selection:
    """Choose the keyframes of one shot.

    The first good enough frame is a keyframe. From frame index 2 on, a good enough frame whose cosine similarity to
    the last keyframe is below tau is the next. While there are more than `max_keyframes`, tau falls by
    `threshold_step`. The rule always ends: at tau = -1 no similarity is below it and one keyframe is left.

    Args:
        embeddings: ``[F, D]``, unit norm.
        quality: ``[F]``; or a function of frame indices, which is asked only about frames that decide something;
            or None: every frame is good enough.
        similarity_threshold: where tau starts.
        threshold_step: by how much tau falls at a time, above 0.
        max_keyframes: at least 1.
        quality_threshold: a frame scored below this is no keyframe. Not used without `quality`.

    Raises:
        ValueError: an embedding or a score is not a number, or the shapes do not belong together.
    """
    _check_embeddings(embeddings, "frame")
    if max_keyframes < 1 or not threshold_step > 0:
        raise ValueError(f"max_keyframes ({max_keyframes}) and threshold_step ({threshold_step}) must be above 0")
    count = len(embeddings)
    exact = embeddings.astype(np.float64)
    similarity = exact @ exact.T
    good = _GoodFrames(quality, quality_threshold, count)
    first = good.first_of(range(count))
    if first is None:
        return Selection((), similarity_threshold)
    step = 0
    while True:
        tau = round(similarity_threshold - step * threshold_step, _THRESHOLD_DIGITS)
        chosen, highest = _walk(similarity, good, first, tau)
        if len(chosen) <= max_keyframes:
            return Selection(tuple(chosen), tau)
        # A lower tau changes nothing until it reaches a similarity that it let through: go there at once.
        step = max(step + 1, math.floor((similarity_threshold - highest) / threshold_step))


def _walk(similarity: npt.NDArray[np.float64], good: _GoodFrames, first: int, tau: float) -> tuple[list[int], float]:
    """The keyframes at one tau, and the highest similarity between two that follow one another."""
    chosen = [first]
    highest = -1.0
    while True:
        last = chosen[-1]
        start = max(last + 1, _SECOND_FROM)
        different = (start + np.flatnonzero(similarity[last, start:] < tau)).tolist()
        following = good.first_of(different)
        if following is None:
            return chosen, highest
        highest = max(highest, float(similarity[last, following]))
        chosen.append(following)


class _GoodFrames:
    """Remembers which frames are good enough, and asks for the score of no frame twice."""

    def __init__(self, quality: _Numbers | FrameScores | None, threshold: float, count: int) -> None:
        self._threshold = threshold
        self._known: dict[int, bool] = {}
        self._score: FrameScores | None = None
        if callable(quality):
            self._score = quality
        elif quality is None:
            self._known = dict.fromkeys(range(count), True)
        else:
            if quality.shape != (count,):
                raise ValueError(f"{count} frames need {count} scores, not an array of shape {list(quality.shape)}")
            self._learn(range(count), quality)

    def first_of(self, indices: Sequence[int]) -> int | None:
        """The first of these frames that is good enough, or None."""
        ahead = 1
        for position, index in enumerate(indices):
            if index not in self._known:
                # One frame at first, since it is mostly good; after bad ones bigger batches, which cost less per frame.
                unknown = [i for i in indices[position : position + ahead] if i not in self._known]
                assert self._score is not None
                self._learn(unknown, self._score(unknown))
                ahead = min(2 * ahead, _MOST_AHEAD)
            if self._known[index]:
                return index
        return None

    def _learn(self, indices: Sequence[int], scores: _Numbers) -> None:
        if len(scores) != len(indices):
            raise ValueError(f"{len(indices)} frames were to be scored and {len(scores)} scores came back")
        for index, score in zip(indices, scores, strict=True):
            if math.isnan(score):
                raise ValueError(f"the quality of frame {index} is not a number")
            self._known[index] = bool(score >= self._threshold)


def drop_repetitions(embeddings: _Numbers, bank_embeddings: _Numbers, threshold: float = 0.9) -> tuple[int, ...]:
    """Which chosen frames show something that the bank does not have.

    As in the method, a frame is compared with the bank as the shot saw it, not with the shot's other keyframes: those
    are told apart by tau.

    Args:
        embeddings: of the chosen frames, ``[N, D]``, unit norm.
        bank_embeddings: ``[M, D]``, unit norm; M may be 0.
        threshold: a frame with a cosine similarity above this to any keyframe of the bank is a repetition.

    Returns:
        The positions, 0 to N - 1, of those that are kept, in order.

    Raises:
        ValueError: an embedding is not a number.
    """
    _check_embeddings(embeddings, "chosen frame")
    _check_embeddings(bank_embeddings, "keyframe")
    if not len(embeddings) or not len(bank_embeddings):
        return tuple(range(len(embeddings)))
    nearest = (embeddings.astype(np.float64) @ bank_embeddings.astype(np.float64).T).max(axis=1)
    return tuple(np.flatnonzero(nearest <= threshold).tolist())


def _check_embeddings(embeddings: _Numbers, what: str) -> None:
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings are [count, dimension], not of shape {list(embeddings.shape)}")
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise ValueError(f"the embedding of {what} {int(bad[0])} is not a number everywhere")
