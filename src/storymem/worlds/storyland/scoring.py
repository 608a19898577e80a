"""From what was asked for and what was read in a film of Storyland to figures: identity, prompts, two heroes.

A *mark* is one attribute of one hero (or of one shot) that was right or wrong; a *figure* is the share of right marks,
with a confidence interval and with what chance would give.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import numpy as np

from storymem.worlds.storyland.heroes import ATTRIBUTES, sample_hero
from storymem.worlds.storyland.reader import HeroReading, ShotReading
from storymem.worlds.storyland.shots import sample_shot

__all__ = ["FIGURES", "Mark", "figure", "figures", "match_heroes", "score_story", "wilson"]

FIGURES: Mapping[str, str] = {
    "identity": "looks not told in the prompt equal those read in the hero's first shot; shots after a cut",
    "identity, one hero": "the same in stories of one hero",
    "identity, two heroes": "the same in stories of two heroes: the right looks on the right one",
    "identity, both in the shot": "the same in shots that show both",
    "identity, without a cut": "the same in shots that go on where the last one ended",
    "identity against the truth": "looks not told in the prompt equal those of the true hero; shots after a cut",
    "identity against the truth, two heroes": "the same in stories of two heroes",
    "swapped": "in shots that show both: of looks in which the two differ, those that are the other's (less is better)",
    "looks as told": "looks that the prompt tells",
    "prompt": "place, action and shot type together",
    "place": "the place that the prompt tells",
    "action": "each hero's action",
    "shot type": "wide, medium, close-up",
    "time": "the time of day, where it can be seen",
    "weather": "the weather, outdoors",
    "heroes": "as many heroes as there should be",
}
"""Every figure, with what it is the share of."""

_PROMPT = {"place": "place", "shot_type": "shot type", "time": "time", "weather": "weather"}
_LOTS = 2000  # heroes and shots drawn to know what chance gives
_RESAMPLED = 2000
_FEWEST_STORIES = 5  # for the bootstrap to say anything


@dataclass(frozen=True, slots=True)
class Mark:
    """One attribute, judged.

    Attributes:
        figure: one of `FIGURES`.
        attribute: what was judged.
        right: whether it was as it should be.
        chance: how likely it is that a hero or shot by lot would have what was read.
    """

    figure: str
    attribute: str
    right: bool
    chance: float


def match_heroes(heroes: Sequence[Mapping[str, Any]], read: Sequence[HeroReading]) -> list[HeroReading | None]:
    """Which of the heroes that were read is meant by each that should be there; None: was not found.

    In stories of two heroes every prompt tells the species, and no two are of one: who looks more like the species is
    meant. Where that decides nothing, left stays left. Where one hero should be there and two were found, it is the one
    that was found in more frames, then the one nearer to the middle.

    Args:
        heroes: of `ground_truth`, from left to right.
        read: of a `ShotReading`, from left to right.
    """
    if len(heroes) == 1:
        return [max(read, key=lambda hero: (hero.seen, -abs(hero.x - 0.5)), default=None)]
    ways: list[tuple[HeroReading | None, ...]]
    if len(read) == 2:
        ways = [(read[0], read[1]), (read[1], read[0])]
    else:
        one = read[0] if read else None
        ways = [(one, None), (None, one)]

    def fit(way: Iterable[HeroReading | None]) -> int:
        return sum(
            found is not None and found.attributes["species"] == hero["attributes"]["species"]
            for hero, found in zip(heroes, way, strict=True)
        )

    return list(max(ways, key=fit))  # of equals the first


def score_story(truth: Mapping[str, Any], readings: Sequence[ShotReading]) -> list[Mark]:
    """Judge a film.

    Args:
        truth: of `story_truth`.
        readings: of each of its shots.

    Returns:
        Marks of `FIGURES`. Only what can be seen counts, and a colour only of what is worn. What is asked of a hero who
        was not found is wrong.
    """
    marks: list[Mark] = []
    first: dict[str, HeroReading | None] = {}
    two = len(truth["heroes"]) == 2
    for shot, reading in zip(truth["shots"], readings, strict=True):
        for name, title in _PROMPT.items():
            if shot[name] is not None:
                marks += _asked(title, name, getattr(reading, name), shot[name])
        marks += _asked("heroes", "heroes", str(len(reading.heroes)), str(len(shot["heroes"])))
        matched = match_heroes(shot["heroes"], reading.heroes)
        for hero, read in zip(shot["heroes"], matched, strict=True):
            marks += _asked("action", "action", None if read is None else read.action, hero["action"])
            looks = hero["attributes"]
            marks += _looks("looks as told", looks, read, [n for n in hero["told"] if n in hero["visible"]])
            if hero["name"] not in first:
                first[hero["name"]] = read
                continue
            untold = [name for name in hero["visible"] if name not in hero["told"]]
            before = first[hero["name"]]
            remembered = None if before is None else before.attributes
            if not shot["cut"]:
                marks += _looks("identity, without a cut", remembered, read, untold)
                continue
            marks += _looks("identity", remembered, read, untold)
            marks += _looks("identity, two heroes" if two else "identity, one hero", remembered, read, untold)
            marks += _looks("identity against the truth", looks, read, untold)
            if two:
                marks += _looks("identity against the truth, two heroes", looks, read, untold)
            if len(shot["heroes"]) == 2:
                marks += _looks("identity, both in the shot", remembered, read, untold)
                other = next(h["attributes"] for h in shot["heroes"] if h["name"] != hero["name"])
                marks += _looks("swapped", other, read, [name for name in untold if other[name] != looks[name]])
    return marks


def _asked(title: str, name: str, read: str | None, wanted: str) -> list[Mark]:
    chance = _common(name).get(read, 0.0)
    together = [Mark("prompt", title, read == wanted, chance)] if title in ("place", "action", "shot type") else []
    return [Mark(title, name, read == wanted, chance), *together]


def _looks(
    title: str, wanted: Mapping[str, str | None] | None, read: HeroReading | None, names: Iterable[str]
) -> list[Mark]:
    marks = []
    for name in names:
        if wanted is not None and wanted[name] is None and name.endswith("_colour"):
            continue
        value = None if read is None else read.attributes[name]
        right = wanted is not None and read is not None and value == wanted[name]
        marks.append(Mark(title, name, right, 0.0 if read is None else _common(name).get(value, 0.0)))
    return marks


@cache
def _common(name: str) -> dict[str | None, float]:
    """How often each value is drawn; of colours of things, among those who have the thing."""
    rng = Random("storyland/chance")
    if name in ATTRIBUTES:
        values = [getattr(sample_hero(rng, "test"), name) for _ in range(_LOTS)]
        if name.endswith("_colour"):
            values = [value for value in values if value is not None]
    else:
        specs = [sample_shot(seed, "test") for seed in range(_LOTS)]
        if name == "action":
            values = [actor.action for spec in specs for actor in spec.actors]
        elif name == "heroes":
            values = [str(len(spec.actors)) for spec in specs]
        else:
            values = [spec.place.kind if name == "place" else getattr(spec, name) for spec in specs]
    return {value: count / len(values) for value, count in Counter(values).items()}


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. B. Wilson, JASA 22, 1927), for marks that know nothing of one another."""
    share, square = right / count, z * z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def figure(stories: Sequence[Sequence[Mark]]) -> dict[str, Any] | None:
    """One figure of the marks of many stories; None without marks.

    Marks of one story are alike (a hero who is lost is lost with hat and scarf), so whole stories are drawn again and
    again (bootstrap, 95 % of 2000 draws). With fewer than five stories that says nothing, and Wilson's interval is
    given, which is too narrow.
    """
    marked = [marks for marks in stories if marks]
    if not marked:
        return None
    right = np.array([sum(mark.right for mark in marks) for marks in marked])
    count = np.array([len(marks) for marks in marked])
    every = [mark for marks in marked for mark in marks]
    if len(marked) >= _FEWEST_STORIES:
        drawn = np.random.default_rng(0).integers(len(marked), size=(_RESAMPLED, len(marked)))
        shares = right[drawn].sum(1) / count[drawn].sum(1)
        low, high = (float(edge) for edge in np.percentile(shares, [2.5, 97.5]))
        interval = "bootstrap over stories"
    else:
        low, high = wilson(int(right.sum()), int(count.sum()))
        interval = "wilson"
    by = {}
    for name in dict.fromkeys(mark.attribute for mark in every):
        of_it = [mark.right for mark in every if mark.attribute == name]
        by[name] = {"share": round(sum(of_it) / len(of_it), 4), "n": len(of_it)}
    return {
        "share": round(float(right.sum() / count.sum()), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "interval": interval,
        "n": int(count.sum()),
        "stories": len(marked),
        "chance": round(sum(mark.chance for mark in every) / len(every), 4),
        "by": by,
    }


def figures(stories: Sequence[Sequence[Mark]]) -> dict[str, dict[str, Any]]:
    """Every one of `FIGURES` that there are marks for."""
    out = {}
    for title in FIGURES:
        found = figure([[mark for mark in marks if mark.figure == title] for marks in stories])
        if found is not None:
            out[title] = found
    return out
