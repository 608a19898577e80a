"""Storyland's critic: of several takes of a shot, which shows the heroes as the prompt and the memory have them.

It looks with the judge's reader and not with the one that films are measured with: what is chosen by a reader looks
better to that reader than it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import permutations, product
from pathlib import Path

import numpy as np
import torch

from storymem.errors import MediaError
from storymem.memory.bank import FloatArray, frame_id
from storymem.worlds.storyland.heroes import ATTRIBUTES, HERO_CLASSES, NOT_WORN, class_of
from storymem.worlds.storyland.reader import follow_heads, heads_in, load_reader, see_hero
from storymem.worlds.storyland.shots import ACTIONS
from storymem.worlds.storyland.telling import MOST_HEROES, HeroTold, heroes_told

__all__ = ["StorylandCritic"]

_Seen = Mapping[str, FloatArray]
"""A hero as seen: log-probabilities of each attribute's classes and of the ``action``'s."""

_MISS = -40.0
"""For each hero too many or too few: about as bad as four looks that the reader is sure are wrong."""
_ACTION_FLOOR = -9.2
"""A ten-thousandth: a deed that is surely not the one told must not outweigh all of the looks."""
_LIKENESS_FLOOR = 1e-4
"""As much for a look that is surely not as it is remembered: the picture may be what was misread."""
_KEPT = 64
"""Pictures whose heroes are kept in mind: those of a memory or two, which are the same for every take."""
_NOTHING = HeroTold({}, None)
"""Of somebody of whom nothing is told but that he is there."""
_CLEAR = 1e-6
"""Nearer than this, two remembered heroes are as likely to be the one who is told of."""


class StorylandCritic:
    """Scores takes by the log-probability that the heroes are as they should be.

    What the prompt tells of a hero should be so; what it does not tell should be as with the hero in memory who is
    meant, which is the one who is most likely as told. Only takes that show as many heroes as are told of are looked at
    more closely. Of places, weather and camera the critic knows nothing.

    Args:
        reader: the weights of an attribute reader, as `tools/train_storyland_reader.py` writes them; None: the
            package's second one, which measures nothing.

    Raises:
        ModelError: the weights are no reader's.
    """

    def __init__(self, reader: Path | None = None) -> None:
        self._network = load_reader(reader, shipped="judge.safetensors").network.eval().requires_grad_(False)
        self._remembered: OrderedDict[str, tuple[_Seen, ...]] = OrderedDict()  # by picture, the last used last

    def score(
        self, frames: FloatArray, *, prompt: str, characters: Sequence[str] | None, pictures: Sequence[FloatArray]
    ) -> float:
        """How good a take is: the more, the better. Only scores of takes of one shot can be compared.

        Args:
            frames: the take, ``[F, 3, H, W]``, float32 in [-1, 1].
            prompt: the shot's, with the cast woven in.
            characters: whom the shot shows; of two who are shown, two should be there, whatever the prompt tells of
                them. None: the script does not say; if the prompt does not either, somebody known should be there.
            pictures: what the shot saw of the memory, ``[3, H, W]`` each, likewise, of any size; perhaps none.

        Raises:
            MediaError: an array has another form.
        """
        for shape in (frames.shape, *((1, *picture.shape) for picture in pictures)):
            if len(shape) != 4 or shape[1] != 3 or not shape[0]:
                raise MediaError(f"Frames are arrays [frames, 3, height, width], one or more, and not {shape}.")
        told, found = list(heroes_told(prompt)), self._look(frames)
        remembered = [hero for picture in pictures for hero in self._remember(picture)]
        if not told and characters is None:
            if not found:
                return _MISS if remembered else 0.0
            return _as_told(found, [_NOTHING] * len(found), remembered) / len(found)
        told += [_NOTHING] * (min(len(set(characters or ())), MOST_HEROES) - len(told))
        if len(found) != len(told):
            return _MISS * abs(len(found) - len(told))
        return _as_told(found, told, remembered)

    def _remember(self, picture: FloatArray) -> tuple[_Seen, ...]:
        key = frame_id(picture)
        if key not in self._remembered:
            self._remembered[key] = self._look(picture[None])
        self._remembered.move_to_end(key)
        if len(self._remembered) > _KEPT:
            self._remembered.popitem(last=False)
        return self._remembered[key]

    def _look(self, frames: FloatArray) -> tuple[_Seen, ...]:
        """The heroes of a shot, or of a single picture, from left to right: two at most, perhaps none."""
        with torch.inference_mode():
            pictures, heads, _ = heads_in(self._network, frames)
            heroes = [see_hero(self._network, pictures, track) for track in follow_heads(heads)]
            return tuple({name: both.mean(0).numpy() for name, both in hero.items()} for hero in heroes)


def _as_told(found: Sequence[_Seen], told: Sequence[HeroTold], remembered: Sequence[_Seen]) -> float:
    """The score of as many heroes as are told of, each taken for the one that fits best."""
    orders = list(permutations(range(len(told))))  # the hero told of that each who was found is taken for
    if not remembered:
        alone = np.array([[_score(hero, one, None) for one in told] for hero in found])
        return max(float(sum(alone[i, j] for i, j in enumerate(order))) for order in orders)
    scores = np.array([[[_score(hero, one, other) for other in remembered] for one in told] for hero in found])
    return max(
        float(sum(scores[i, j, meant[j]] for i, j in enumerate(order)))
        for meant in _who_is_meant(told, remembered)
        for order in orders
    )


def _who_is_meant(told: Sequence[HeroTold], remembered: Sequence[_Seen]) -> list[tuple[int, ...]]:
    """For each hero told of, which of those remembered it is; several ways where what is told does not decide.

    Two are two different ones, where two are remembered.
    """
    fits = np.array([[_fit(one, other) for other in remembered] for one in told])
    numbers = range(len(remembered))
    ways = list(
        permutations(numbers, len(told)) if len(remembered) >= len(told) else product(numbers, repeat=len(told))
    )
    likely = [sum(fits[j, number] for j, number in enumerate(way)) for way in ways]
    return [way for way, fit in zip(ways, likely, strict=True) if fit > max(likely) - _CLEAR]


def _fit(told: HeroTold, seen: _Seen) -> float:
    """The log-probability that a hero looks as told."""
    classes = ((name, class_of(name, value)) for name, value in told.attributes.items())
    return float(sum(seen[name][number] for name, number in classes if number >= 0))


def _score(seen: _Seen, told: HeroTold, remembered: _Seen | None) -> float:
    """The log-probability that a hero looks and does as told, and looks as remembered in what is not told."""
    score = _fit(told, seen)
    if remembered is not None:
        score += sum(_likeness(name, seen, remembered) for name in ATTRIBUTES if not _is_told(name, told))
    if told.action is not None:
        score += max(float(seen["action"][ACTIONS.index(told.action)]), _ACTION_FLOOR)
    return score


def _is_told(name: str, told: HeroTold) -> bool:
    thing = name.removesuffix("_colour")
    return name in told.attributes or (thing in told.attributes and told.attributes[thing] is None)


def _likeness(name: str, seen: _Seen, remembered: _Seen) -> float:
    """The log-probability that two heroes are alike in one attribute."""
    alike = float(np.exp(seen[name] + remembered[name]).sum())
    thing = name.removesuffix("_colour")
    if thing != name and thing in HERO_CLASSES:
        # The colour of what is not worn is anything.
        bare = float(np.exp(remembered[thing][HERO_CLASSES[thing].index(NOT_WORN)]))
        alike = alike * (1 - bare) + bare
    return float(np.log(max(alike, _LIKENESS_FLOOR)))
