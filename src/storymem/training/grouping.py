"""Which clips of footage are related: groups that are each other's memory, and the scenes that groups are parts of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Grouping", "UnionFind", "group_related"]

T = TypeVar("T", bound=Hashable)

_SAME = 0.9  # clips more alike than this show the same, as frames do in the method


@dataclass(frozen=True, slots=True)
class Grouping:
    """What `group_related` finds.

    Attributes:
        groups: the number of each clip's group, from 0 in the order of each group's first clip.
        scenes: the same of its scene. One scene may have several groups; those of different scenes are not alike.
    """

    groups: list[int]
    scenes: list[int]


class UnionFind(Generic[T]):
    """Things put together two by two, and what is together by then."""

    def __init__(self) -> None:
        self._parent: dict[T, T] = {}

    def join(self, things: Iterable[T]) -> None:
        """Put all of these together; `root` of them is that of the first."""
        roots = [self.root(thing) for thing in things]
        for root in roots:
            self._parent[root] = roots[0]

    def root(self, thing: T) -> T:
        """One of the things together with this one, the same for all of them."""
        root = thing
        while self._parent.setdefault(root, root) != root:
            root = self._parent[root]
        while self._parent[thing] != root:  # the way is short the next time
            self._parent[thing], thing = root, self._parent[thing]
        return root


def group_related(
    embeddings: npt.NDArray[np.floating[Any]],
    *,
    similarity: float,
    largest: int,
    neighbours: int = 32,
    together: Sequence[Sequence[int]] = (),
) -> Grouping:
    """The group and the scene of each clip.

    Clips are joined to groups from the most alike down, while groups stay small enough. Groups whose means are alike
    are one scene (the larger ones first, each put to the scene whose mean is most like it), and so are groups with
    clips that show the same. Were it enough for a scene that clips are alike pair by pair, nearly all of a large
    collection would be one: there is always something in between.

    Args:
        embeddings: ``[N, D]``, unit norm.
        similarity: clips less alike than this are not joined.
        largest: clips in a group at most.
        neighbours: nearest clips looked at for the place of each.
        together: clips that are of one scene however they look, as of one shot.
    """
    count = len(embeddings)
    exact = embeddings.astype(np.float32)
    edges: list[tuple[float, int, int]] = []
    twins: list[Sequence[int]] = []
    for start in range(0, count, 1024):
        block = exact[start : start + 1024] @ exact.T
        for row, values in enumerate(block, start=start):
            values[row] = -np.inf
            nearest = np.argsort(-values, kind="stable")[: min(neighbours, count - 1)]
            edges += [(float(values[n]), min(row, n), max(row, n)) for n in nearest.tolist() if values[n] >= similarity]
            twins += [(row, n) for n in nearest.tolist() if values[n] >= max(similarity, _SAME)]
    related, size = UnionFind[int](), [1] * count
    for _, a, b in sorted(set(edges), key=lambda edge: (-edge[0], edge[1], edge[2])):
        one, other = sorted((related.root(a), related.root(b)))
        if one != other and size[one] + size[other] <= largest:
            related.join((one, other))
            size[one] += size[other]
    groups = _numbered([related.root(clip) for clip in range(count)])
    scenes, joined = _alike(exact, groups, similarity), UnionFind[int]()
    for clips in (*twins, *together):
        joined.join(scenes[groups[clip]] for clip in clips)
    return Grouping(groups, _numbered([joined.root(scenes[group]) for group in groups]))


def _alike(embeddings: npt.NDArray[np.float32], groups: Sequence[int], similarity: float) -> list[int]:
    """The scene of each group by its mean alone."""
    sums = np.zeros((max(groups, default=-1) + 1, embeddings.shape[1]), np.float32)
    np.add.at(sums, np.array(groups, dtype=int), embeddings)
    sizes = np.bincount(np.array(groups, dtype=int))
    scenes = [0] * len(sums)
    totals, means, count = np.zeros_like(sums), np.zeros_like(sums), 0
    for group in np.argsort(-sizes, kind="stable").tolist():
        mean = sums[group] / max(float(np.linalg.norm(sums[group])), 1e-12)
        alike = means[:count] @ mean
        scene = int(alike.argmax()) if count and alike.max() >= similarity else count
        count = max(count, scene + 1)
        totals[scene] += sums[group]
        means[scene] = totals[scene] / max(float(np.linalg.norm(totals[scene])), 1e-12)
        scenes[group] = scene
    return scenes


def _numbered(labels: Sequence[Hashable]) -> list[int]:
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels]
