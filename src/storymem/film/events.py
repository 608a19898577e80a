"""What happens while a film is made, as values. The command line, a studio or a cluster worker only consume these.

`Director.generate` and `Director.retake` are generators of events. One kind cannot come out of a generator: a
`StepDone` happens while the generator waits for the model. It goes to the callback `on_step` instead, in the same
thread and in order, so that one function can take them all::

    for event in director.generate(on_step=show):
        show(event)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from storymem.film.maker import Mode
from storymem.film.plan import PlannedShot
from storymem.film.takes import SeenKeyframe

__all__ = [
    "Event",
    "FilmFinished",
    "FilmPlanned",
    "KeyframesChosen",
    "ShotFinished",
    "ShotReused",
    "ShotStale",
    "ShotStarted",
    "StepDone",
    "TakeChosen",
    "TakeDamaged",
    "TakeFinished",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    def to_json(self) -> dict[str, Any]:
        """The event as JSON values: its fields, and ``event``, its name in small letters such as ``shot_started``."""
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        return {"event": name, **{entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}}


@dataclass(frozen=True, slots=True)
class FilmPlanned(Event):
    """The first event: what there is and what will be done.

    Attributes:
        title: of the film.
        folder: of the film.
        shots: every portrait and shot of the film, in order; for a retake that one alone.
        to_make: ids of the shots that will be made now, as far as can be told before the first of them is.
        seconds_left: an estimate from earlier takes; None if there are none.
    """

    title: str
    folder: Path
    shots: tuple[PlannedShot, ...]
    to_make: tuple[str, ...]
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class ShotStarted(Event):
    """The model begins with a shot.

    Attributes:
        shot_id: the shot.
        index: its 0-based position in the film; of a portrait, among the portraits.
        mode: what it is conditioned on.
        seed: of its noise.
        num_frames: its length.
        steps: denoising steps.
        memory: what it sees, oldest first.
        continues: the shot whose last frames it begins with.
        reason: why it is made.
        take: which of its takes this is, from 1.
        takes: how many are made.
    """

    shot_id: str
    index: int
    mode: Mode
    seed: int
    num_frames: int
    steps: int
    memory: tuple[SeenKeyframe, ...]
    continues: str | None
    reason: str
    take: int = 1
    takes: int = 1


@dataclass(frozen=True, slots=True)
class StepDone(Event):
    """A denoising step is done.

    Attributes:
        shot_id: the shot.
        done: steps done in this shot.
        steps: steps of this shot.
        seconds_per_step: mean of this run, loading and decoding included.
        shot_seconds_left: for the other steps of this shot.
        film_seconds_left: for those and for the shots still to make.
    """

    shot_id: str
    done: int
    steps: int
    seconds_per_step: float
    shot_seconds_left: float
    film_seconds_left: float


@dataclass(frozen=True, slots=True)
class KeyframesChosen(Event):
    """The keyframes of a shot are chosen.

    Attributes:
        shot_id: the shot.
        keyframes: by id and label; none if no frame was good enough or all showed what the memory has.
    """

    shot_id: str
    keyframes: tuple[SeenKeyframe, ...]


@dataclass(frozen=True, slots=True)
class ShotFinished(Event):
    """A take is on the disk and in the film.

    Attributes:
        shot_id: the shot.
        key: of the take.
        seconds: that the model took, the choice of keyframes, and writing; of all takes that were made.
    """

    shot_id: str
    key: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TakeFinished(Event):
    """One of several takes of a shot is on the disk; told only where there are several.

    Attributes:
        shot_id: the shot.
        key: of the take.
        take: which it is, from 1.
        takes: how many are made.
        seconds: as of `ShotFinished`.
    """

    shot_id: str
    key: str
    take: int
    takes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TakeChosen(Event):
    """Of several takes of a shot one is chosen.

    Attributes:
        shot_id: the shot.
        key: of the take.
        take: which it is, from 1.
        takes: how many there are.
        scores: of all of them, in their order, as the critic has it; none without one.
    """

    shot_id: str
    key: str
    take: int
    takes: int
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ShotReused(Event):
    """A finished take is what the film needs, so nothing is made."""

    shot_id: str
    key: str


@dataclass(frozen=True, slots=True)
class ShotStale(Event):
    """The chosen take was made from something that has changed since; it stays in the film until it is remade."""

    shot_id: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class TakeDamaged(Event):
    """A finished take is not as it was written; it is set aside and made again.

    Attributes:
        shot_id: the shot.
        key: of the take.
        what: what is wrong with it.
        aside: where it is now; None if nothing of it is left.
    """

    shot_id: str
    key: str
    what: str
    aside: Path | None


@dataclass(frozen=True, slots=True)
class FilmFinished(Event):
    """The last event.

    Attributes:
        folder: of the film.
        made: ids of the shots that were made now.
        reused: ids of those that were there already.
        stale: ids of those whose take was made from something that has changed since.
        seconds: that it took.
    """

    folder: Path
    made: tuple[str, ...]
    reused: tuple[str, ...]
    stale: tuple[str, ...]
    seconds: float


def _plain(value: object) -> Any:
    to_json = getattr(value, "to_json", None)
    if to_json is not None:
        return to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.as_posix() if isinstance(value, Path) else value
