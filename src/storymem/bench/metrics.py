"""The metrics, as pure functions on numbers: embeddings, scores and small frames in, one figure out.

S is the number of shots of a film. Similarity between two shots is the cosine of their embeddings. A cosine alone can
be won by what is no picture: frames of noise, or blurred to one colour, are all alike. So the metrics of this harness
weigh each shot by its *worth* (`storymem.bench.worth`), from 0 (noise, a flat colour) to 1 (a clean picture), and the
plain cosine, which is what papers report, is given next to it as ``..._plain``.

A metric that cannot be measured on a film (a single shot, no cast, no joins) is None, never 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = [
    "VARIED_ENOUGH",
    "across_scenes",
    "attribute_agreement",
    "balance",
    "character_consistency",
    "consistency_all",
    "consistency_top",
    "diversity",
    "drift",
    "end_similarity",
    "join_smoothness",
    "pixel_likeness",
    "prompt_following",
    "shot_similarities",
    "similarity_by_distance",
    "within_scene",
    "word_similarities",
]

Array = npt.NDArray[np.floating]
Pair = tuple[int, int]

VARIED_ENOUGH = 0.35
"""Diversity from which on a film counts as free of copies; see `balance`."""

_LEAST_STEP = 1 / 255  # of a channel: differences below it are rounding


def shot_similarities(embeddings: Array, worth: Array | None = None) -> Array:
    """Similarity of every two shots ``[S, S]``: the cosine, times the geometric mean of what the two are worth.

    Args:
        embeddings: ``[S, D]``, unit norm.
        worth: ``[S]`` in [0, 1]; None is 1 for all, which is the plain cosine.
    """
    cosine = np.asarray(embeddings, np.float64) @ np.asarray(embeddings, np.float64).T
    if worth is None:
        return cosine
    root = np.sqrt(np.asarray(worth, np.float64))
    return np.asarray(cosine * root[:, None] * root[None])


def _pairs(count: int) -> list[Pair]:
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def _mean_over(similarity: Array, pairs: Collection[Pair]) -> float | None:
    return float(np.mean([similarity[i, j] for i, j in pairs])) if pairs else None


def consistency_all(similarity: Array) -> float | None:
    """Cross-shot consistency over all pairs: the mean similarity of two different shots of the film.

    Source: StoryMem (arXiv 2512.19539), "consistency, all pairs", there with ViCLIP and the plain cosine.

    Args:
        similarity: ``[S, S]``, see `shot_similarities`.
    """
    return _mean_over(similarity, _pairs(len(similarity)))


def consistency_top(similarity: Array, prompt_similarity: Array, count: int = 10) -> float | None:
    """Cross-shot consistency over the pairs whose prompts are most alike: what ought to look alike, does it?

    Source: StoryMem (arXiv 2512.19539), "consistency, top 10". Where prompts tie at the last place the mean of the tied
    pairs counts for as many places as are left, so that the result does not depend on the order of the shots.

    Args:
        similarity: ``[S, S]``, see `shot_similarities`.
        prompt_similarity: ``[S, S]``, of the shots' prompts.
        count: how many pairs; a film with fewer gives all it has.
    """
    pairs = _pairs(len(similarity))
    if not pairs:
        return None
    count = min(count, len(pairs))
    likeness = [round(float(prompt_similarity[i, j]), 9) for i, j in pairs]
    last = sorted(likeness, reverse=True)[count - 1]
    above = [similarity[p] for p, value in zip(pairs, likeness, strict=True) if value > last]
    tied = [similarity[p] for p, value in zip(pairs, likeness, strict=True) if value == last]
    return float((np.sum(above) + (count - len(above)) * np.mean(tied)) / count)


def within_scene(similarity: Array, scenes: Sequence[int]) -> float | None:
    """Mean similarity of two shots of one scene.

    Args:
        similarity: ``[S, S]``, see `shot_similarities`.
        scenes: the scene of each shot.
    """
    return _mean_over(similarity, [(i, j) for i, j in _pairs(len(scenes)) if scenes[i] == scenes[j]])


def across_scenes(similarity: Array, scenes: Sequence[int]) -> float | None:
    """Mean similarity of two shots of different scenes; arguments as `within_scene`."""
    return _mean_over(similarity, [(i, j) for i, j in _pairs(len(scenes)) if scenes[i] != scenes[j]])


def character_consistency(similarity: Array, shown: Sequence[Collection[str]]) -> float | None:
    """How alike the shots of one character are: the mean over characters of the mean similarity of their shots.

    It looks at whole pictures, so it sees places too; `attribute_agreement` looks at the characters alone where a
    reader of attributes is to be had.

    Args:
        similarity: ``[S, S]``, see `shot_similarities`.
        shown: for each shot, the names of the characters in it.
    """
    means = []
    for name in sorted({name for names in shown for name in names}):
        shots = [index for index, names in enumerate(shown) if name in names]
        pairs = [(i, j) for n, i in enumerate(shots) for j in shots[n + 1 :]]
        if pairs:
            means.append(_mean_over(similarity, pairs))
    return float(np.mean([mean for mean in means if mean is not None])) if means else None


def attribute_agreement(
    expected: Sequence[Mapping[str, str | None]],
    read: Sequence[Mapping[str, str | None]],
    counted: Sequence[Collection[str]] | None = None,
) -> float | None:
    """Share of attributes that are as they should be, over all appearances of all characters.

    What the reader could not read, or a character that it did not find, counts as wrong: a blob has no hat.

    Args:
        expected: for each appearance, what is true.
        read: for each appearance, what was read.
        counted: for each appearance, the attributes that count, such as those that can be seen; None: all expected.
    """
    right = total = 0
    for index, (true, seen) in enumerate(zip(expected, read, strict=True)):
        for name in true if counted is None else counted[index]:
            total += 1
            right += name in seen and seen[name] == true[name]
    return right / total if total else None


def prompt_following(videos: Array, texts: Array) -> Array:
    """Cosine of each video with its text, ``[N]``.

    Source: StoryMem (arXiv 2512.19539) and VBench's overall consistency (arXiv 2311.17982), with ViCLIP: of the whole
    film with the story's overview, and the mean over the shots with their prompts.

    Args:
        videos: ``[N, D]``, unit norm.
        texts: ``[N, D]``, unit norm, by the same encoder.
    """
    return np.asarray((np.asarray(videos, np.float64) * np.asarray(texts, np.float64)).sum(axis=1))


def pixel_likeness(small: Array) -> Array:
    """How much two shots are the same picture, ``[S, S]``: the best match of a frame of one with a frame of the other.

    A match is the normalised cross-correlation, in place, of frames of a few pixels: 1 for a copy whatever its
    brightness or contrast, about 0 for pictures that have nothing in common. Negative correlation counts as 0.

    Args:
        small: ``[S, F, 3, h, w]``, frames averaged down to about 16 x 9.
    """
    flat = np.asarray(small, np.float64)
    flat = flat - flat.mean(axis=(3, 4), keepdims=True)
    flat = flat.reshape(*flat.shape[:2], -1)
    norm = np.linalg.norm(flat, axis=2, keepdims=True)
    unit = flat / np.maximum(norm, 1e-9)
    blank = norm[..., 0] < 1e-3  # one colour: nothing is like it but another such frame
    likeness = np.einsum("ifd,jgd->ijfg", unit, unit)
    likeness = np.where(blank[:, None, :, None] & blank[None, :, None, :], 1.0, likeness)
    return np.asarray(np.clip(likeness.max(axis=(2, 3)), 0, 1))


def diversity(likeness: Array, worth: Array, joined: Collection[Pair] = ()) -> float | None:
    """How little shots repeat each other: the mean over shots of worth times (1 - likeness to the most alike other).

    Our own. It is what consistency must be read with: a film that shows one picture over and over, or copies its memory
    into every shot, has a consistency of 1 and a diversity of 0. The order of the shots does not matter.

    Args:
        likeness: ``[S, S]``, see `pixel_likeness`.
        worth: ``[S]`` in [0, 1].
        joined: pairs of shots of which one continues the other without a cut: those are meant to be alike.
    """
    count = len(likeness)
    if count < 2:
        return None
    others = np.array(likeness, np.float64)
    np.fill_diagonal(others, -1)
    for i, j in joined:
        others[i, j] = others[j, i] = -1
    nearest = others.max(axis=1)
    counted = nearest >= 0
    if not counted.any():
        return None
    return float(np.mean((np.asarray(worth)[counted]) * (1 - nearest[counted])))


def balance(consistency: float | None, variety: float | None) -> float | None:
    """Consistency that is not bought with copies: consistency x min(1, diversity / 0.35).

    Our own. Beyond 0.35, about what real films of Storyland have (0.38 on average), more diversity earns nothing: shots
    taken from different films are diverse too. Below it, each repetition costs more than it gains.
    """
    return None if consistency is None or variety is None else consistency * min(1.0, variety / VARIED_ENOUGH)


def similarity_by_distance(similarity: Array) -> tuple[float, ...]:
    """Mean similarity of shots 1, 2, ... S - 1 places apart: the curve whose fall is drift."""
    return tuple(float(np.mean(np.diagonal(similarity, offset))) for offset in range(1, len(similarity)))


def end_similarity(similarity: Array) -> float | None:
    """How much of the beginning is left at the end: mean similarity of shots of the first and of the last third.

    Thirds are rounded down, to one shot at least.
    """
    count = len(similarity)
    if count < 3:
        return None
    third = count // 3
    return float(np.mean(similarity[:third, -third:]))


def drift(similarity: Array) -> float | None:
    """By how much shots of the first and the last third are less alike than neighbours are.

    It says how a film changes over its length, by its story or by losing itself; only differences between films of one
    script say which. Neither high nor low is good in itself: noise does not drift.
    """
    end = end_similarity(similarity)
    return None if end is None else similarity_by_distance(similarity)[0] - end


def join_smoothness(before: Array, after: Array, worth: float = 1.0) -> float:
    """How well a shot continues another without a cut, from 0 to `worth`.

    Our own. The step over the boundary is held against the steps inside: r = steps inside / step over the boundary, at
    most 1, once for the pictures (mean absolute difference of pixels: motion, and anything that jumps) and once for
    their colours (mean and deviation of each channel: light and grading). The result is the geometric mean of both.
    "Inside" is the largest step among the frames given, and differences below one level of 8 bits count as one.

    Args:
        before: ``[K, 3, h, w]``, the last frames of the one shot, in [0, 1], small (64 x 36, say).
        after: the first frames of the other, without those that repeat the first shot.
        worth: of the two shots.
    """
    ratios = []
    for values in (_pixels, _colours):
        one, other = values(before), values(after)
        inside = [float(np.abs(b - a).mean()) for part in (one, other) for a, b in pairwise(part)]
        usual = max([_LEAST_STEP, *inside])
        step = max(_LEAST_STEP, float(np.abs(other[0] - one[-1]).mean()))
        ratios.append(min(1.0, usual / step))
    return float(np.sqrt(ratios[0] * ratios[1])) * worth


def _pixels(frames: Array) -> list[Array]:
    return [np.asarray(frame, np.float64) for frame in frames]


def _colours(frames: Array) -> list[Array]:
    return [
        np.concatenate([frame.mean(axis=(1, 2)), frame.std(axis=(1, 2))]) for frame in np.asarray(frames, np.float64)
    ]


def word_similarities(texts: Sequence[str]) -> Array:
    """How alike texts are by their words, ``[N, N]``: the cosine of tf-idf vectors, with logarithmic counts.

    The weights of words come from the texts given, with idf = ln((1 + N) / (1 + n)) + 1. It stands in for a text
    encoder where none is to be had, to say which prompts of one film are most alike.
    """
    counts = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    words = sorted({word for count in counts for word in count})
    rarity = np.array([np.log((1 + len(texts)) / (1 + sum(w in count for count in counts))) + 1 for w in words])
    table = np.array([[np.log1p(count[word]) for word in words] for count in counts]).reshape(len(texts), -1)
    table = table * rarity
    norm = np.linalg.norm(table, axis=1, keepdims=True)
    unit = table / np.maximum(norm, 1e-12)
    return np.asarray(unit @ unit.T)
