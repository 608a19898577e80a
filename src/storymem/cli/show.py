"""Events on a terminal: bars with the time left for film, shot and step; or, for machines, one JSON object per line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from storymem.film.events import (
    Event,
    FilmFinished,
    FilmPlanned,
    KeyframesChosen,
    ShotFinished,
    ShotReused,
    ShotStale,
    ShotStarted,
    StepDone,
    TakeChosen,
    TakeDamaged,
    TakeFinished,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from storymem.film.plan import PlannedShot

__all__ = ["JsonShow", "Show", "TerminalShow", "clock", "counted", "shots_and_portraits", "showing"]


class Show(Protocol):
    """Takes events; says things beside them."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def say(self, kind: str, text: str, **data: Any) -> None:
        """Show a message that is no event of the film, such as a file that was written."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far a piece of work beside the film is, such as joining it."""


class JsonShow:
    """One JSON object per line on standard output."""

    def __call__(self, event: Event) -> None:
        """Write the event."""
        self._write(event.to_json())

    def say(self, kind: str, text: str, **data: Any) -> None:
        """Write a message as ``{"event": kind, "message": text, ...}``."""
        self._write({"event": kind, "message": text, **data})

    def progress(self, what: str, done: int, total: int) -> None:
        """Write the end of a piece of work; what lies between is of no use to a machine."""
        if done == total:
            self._write({"event": "work_done", "work": what, "total": total})

    @staticmethod
    def _write(data: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class TerminalShow:
    """Bars and lines for people. Where the output is no terminal, only the lines."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self.console = console
        self._progress = progress
        self._film: TaskID | None = None
        self._shot: TaskID | None = None
        self._work: dict[str, TaskID] = {}
        self._to_make: set[str] = set()
        self._mode = self._which = self._line = ""  # of the shot in hand

    def say(self, kind: str, text: str, **data: Any) -> None:
        """Print a line."""
        style = {"note": "yellow", "warning": "bold yellow"}.get(kind, "")
        self.console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    def progress(self, what: str, done: int, total: int) -> None:
        """A bar of its own for each piece of work."""
        if what not in self._work:
            self._work[what] = self._progress.add_task(what, total=total, left="")
        self._progress.update(self._work[what], completed=done, total=total)
        if done == total:
            self._progress.remove_task(self._work.pop(what))

    def __call__(self, event: Event) -> None:  # noqa: PLR0912 - one branch per event
        """Show an event."""
        match event:
            case FilmPlanned():
                line = f"{event.title}: {_what_to_make(event)}"
                if event.seconds_left is not None and event.to_make:
                    line += f", about {clock(event.seconds_left)}"
                self.say("plan", line)
                self._to_make = set(event.to_make)
                if event.to_make:
                    self._film = self._progress.add_task("film", total=len(event.to_make), left="")
            case ShotStarted():
                memory = f"sees {counted(len(event.memory), 'keyframe')}"
                after = f", continues {event.continues}" if event.continues else ""
                self._mode, self._which, self._line = event.mode, f"seed {event.seed}", f"{memory}{after}"
                several = f", take {event.take} of {event.takes}" if event.takes > 1 else ""
                self._end_shot()
                self._shot = self._progress.add_task(
                    f"shot {event.shot_id}{several}", total=event.steps, left="loading"
                )
            case TakeFinished():
                self._end_shot()
            case TakeChosen():
                self._which = f"take {event.take} of {event.takes}"
            case StepDone():
                if self._shot is not None:
                    self._progress.update(
                        self._shot,
                        completed=event.done,
                        left=f"{clock(event.shot_seconds_left)} left, {event.seconds_per_step:.2f} s/step",
                    )
                if self._film is not None:
                    self._progress.update(self._film, left=f"{clock(event.film_seconds_left)} left")
            case KeyframesChosen():
                number = len(event.keyframes)
                self._line += f"; {counted(number, 'new keyframe')}" if number else "; no new keyframe"
            case ShotFinished():
                self._end_shot()
                self._advance(event.shot_id)
                self.say(
                    "shot",
                    f"  {event.shot_id}  made in {clock(event.seconds)}  ({self._mode}, {self._which}, {self._line})",
                )
            case ShotReused():
                self._advance(event.shot_id)  # where takes were there, and only one of them was to be chosen
                self.say("shot", f"  {event.shot_id}  is there already")
            case ShotStale():
                self.say("warning", f"  {event.shot_id}  is stale: {event.reason}")
            case TakeDamaged():
                where = f"; set aside as {event.aside}" if event.aside else ""
                self.say("warning", f"  {event.shot_id}  was damaged ({event.what}){where}")
            case FilmFinished():
                if self._film is not None:
                    self._progress.remove_task(self._film)
                    self._film = None

    def _advance(self, shot_id: str) -> None:
        if self._film is not None and shot_id in self._to_make:
            self._progress.advance(self._film)

    def _end_shot(self) -> None:
        if self._shot is not None:
            self._progress.remove_task(self._shot)
            self._shot = None


def _what_to_make(event: FilmPlanned) -> str:
    if len(event.shots) == 1 and event.to_make:  # of a film of one shot, or a retake in a longer one
        return f"shot {event.to_make[0]} to make"
    left = [planned for planned in event.shots if planned.shot.id not in event.to_make]
    stale, missing = (sum(planned.status == status for planned in left) for status in ("stale", "missing"))
    parts = [shots_and_portraits(event.shots), f"{len(event.to_make)} to make"]
    if len(left) > stale + missing:
        parts.append(f"{len(left) - stale - missing} there already")
    if stale:
        parts.append(f"{stale} stale")
    if missing:
        parts.append(f"{missing} left for later")
    return ", ".join(parts)


@contextmanager
def showing(*, as_json: bool) -> Iterator[Show]:
    """A `Show` for one block."""
    if as_json:
        yield JsonShow()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console()
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        yield TerminalShow(console, progress)


def counted(number: int, what: str) -> str:
    """``1 shot``, ``2 shots``."""
    return f"{number} {what}{'s' * (number != 1)}"


def shots_and_portraits(plan: Sequence[PlannedShot]) -> str:
    """``8 shots``, ``8 shots and 1 portrait``."""
    portraits = sum(planned.shot.portrait_of is not None for planned in plan)
    shots = counted(len(plan) - portraits, "shot")
    return f"{shots} and {counted(portraits, 'portrait')}" if portraits else shots


def clock(seconds: float) -> str:
    """Seconds as people say them: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
