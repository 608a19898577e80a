"""A film's folder with the commands that one would run on it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from procedural import THREE_SHOTS, ProceduralMaker, story, tiny_settings, tools

from storymem.film.director import Director
from storymem.film.events import Event
from storymem.film.film_settings import FilmSettings
from storymem.film.plan import PlannedShot, plan_film
from storymem.film.project import Film
from storymem.film.takes import Take
from storymem.story import Story

Kind = TypeVar("Kind", bound=Event)


class Studio:
    """A folder and the commands one would run on it, with the events they gave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools = tools()
        self.script = THREE_SHOTS
        self.base: Path | None = None  # where the reference images are
        self.settings: FilmSettings = tiny_settings()

    @property
    def maker(self) -> ProceduralMaker:
        assert isinstance(self.tools.maker, ProceduralMaker)
        return self.tools.maker

    def story(self) -> Story:
        return story(self.script, self.base)

    def begin(self, **changes: Any) -> AbstractContextManager[Film]:
        asked = {"script": self.script.encode(), "settings": self.settings, "tools": self.tools, **changes}
        return Film.begin(self.folder, story=asked.pop("story", None) or self.story(), **asked)

    def generate(self, *, remake: bool = False) -> list[Event]:
        with self.begin(adopt_settings=remake) as film:
            return list(Director(film, self.tools).generate(remake_stale=remake))

    def retake(self, shot_id: str, **changes: Any) -> list[Event]:
        with Film.work(self.folder) as film:
            return list(Director(film, self.tools).retake(shot_id, **changes))

    def film(self) -> Film:
        return Film.open(self.folder)

    def chosen(self) -> dict[str, str]:
        return dict(self.film().manifest.chosen)

    def plan(self) -> list[PlannedShot]:
        return list(plan_film(self.film()))

    def statuses(self) -> list[str]:
        return [planned.status for planned in self.plan()]

    def take(self, shot_id: str) -> Take:
        take = self.film().chosen_take(shot_id)
        assert take is not None
        return take

    def play(self, name: str) -> None:
        """From now on with another model."""
        self.tools = tools(name)

    def sample(self, **changes: Any) -> None:
        """From now on with other sampling settings."""
        self.settings = replace(self.settings, sampling=replace(self.settings.sampling, **changes))


def of(events: list[Event], kind: type[Kind]) -> list[Kind]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def flip(path: Path, at: float = 0.5) -> None:
    """One wrong bit."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)
