"""Making the films of a suite with several systems, resumably and side by side, and the controls without any system."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from storymem.bench.films import DONE, STORIES, SUITE, TRUTH, read_suite, script_in
from storymem.bench.naming import natural_order
from storymem.bench.suites import BenchStory, Suite
from storymem.bench.systems import System
from storymem.errors import FilmError
from storymem.film.portraits import portraits_of
from storymem.film.storage import make_folder, replace_file
from storymem.media import Uint8Array, probe_video, read_video, write_video
from storymem.story import parse_story

if TYPE_CHECKING:
    from storymem.film.export import Product
    from storymem.film.film_settings import FilmSettings
    from storymem.film.tools import Tools
    from storymem.settings import MemoryConfig
    from storymem.story import Story

__all__ = ["FilmJob", "make_controls", "make_films", "write_suite"]

_MADE_WITH = "made_with"
_PRODUCTS: tuple[Product, ...] = ("film",)  # to watch; scores are taken from the lossless masters

SettingsFor = Callable[["Story"], "FilmSettings"]
"""The settings of a story's film before a system changes them."""

ToolsFor = Callable[["MemoryConfig"], "Tools"]
"""What makes films. With several processes it is pickled: an object of a module-level class, or a function."""


def write_suite(folder: Path, suite: Suite, made_with: Mapping[str, Any] | None = None) -> list[BenchStory]:
    """Write the suite's scripts and truth into a folder, or see that they are there.

    Args:
        folder: of the bench.
        suite: of the folder.
        made_with: all that systems have in common, as JSON values: ``model``, its identity, ``settings``, those that
            systems change, and ``about``, words for people. None: there are only controls.

    Raises:
        FilmError: the folder has another suite, the same with other options, other scripts, or films that were made
            with something else.
        StorageError: the system refused a write.
    """
    stories = list(suite.stories())
    description = json.loads(json.dumps(suite.description()))
    common = json.loads(json.dumps(made_with))
    kept = read_suite(folder) or {}
    known = kept.pop(_MADE_WITH, None)
    _check_suite(folder, kept, description)
    if known is not None and common is not None and any(folder.glob("*/*/film.json")):
        _check_made_with(folder, known, common)
    for story in stories:
        _check_script(folder, story)
    for story in stories:
        target = folder / STORIES / story.name
        script = script_in(target) or target / f"script{story.suffix}"
        for path, text in ((script, story.script), (target / TRUTH, story.truth_text())):
            if text is not None and not path.is_file():
                make_folder(target)
                replace_file(path, text.encode())
    make_folder(folder)
    common = known if common is None else common
    written = description if common is None else {**description, _MADE_WITH: common}
    replace_file(folder / SUITE, json.dumps(written, indent=1).encode())
    return stories


def _check_suite(folder: Path, kept: Mapping[str, Any], description: Mapping[str, Any]) -> None:
    """See that a folder was begun with this suite; what it says nothing of is newer than the folder."""
    differing = [key for key in kept if kept[key] != description.get(key)]
    if differing:
        raise FilmError(
            f"{folder}: was begun with another suite or other options (see {', '.join(differing)} in {SUITE}): use "
            "another folder, or give what was given then."
        )


def _check_made_with(folder: Path, known: Mapping[str, Any], common: Mapping[str, Any]) -> None:
    """See that films are made with what those in the folder were made with."""
    differing = _differing("", {key: value for key, value in known.items() if key != "about"}, common)
    if differing:
        raise FilmError(
            f"{folder}: its films were made with another {', '.join(differing)} (see {_MADE_WITH} in {SUITE}), and "
            "systems would differ in more than they say: give what was given then, or use another folder."
        )


def _differing(name: str, one: Any, other: Any) -> list[str]:
    """The names of what differs; what only one of them has, another version wrote."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [found for key in one if key in other for found in _differing(key, one[key], other[key])]
    return [] if one == other else [name]


def _check_script(folder: Path, story: BenchStory) -> None:
    """See that the script in the folder, by which films were made and are scored, still is the suite's."""
    kept = script_in(folder / STORIES / story.name)
    if kept is None or story.script is None:
        return
    if kept.read_bytes() != story.script.encode():
        raise FilmError(
            f"{kept}: the suite has another text for {story.name} now, and systems would be filmed from different "
            "ones: undo the change, or use another folder."
        )


@dataclass(frozen=True)
class FilmJob:
    """One film to be made.

    Attributes:
        folder: of the bench.
        story: to be filmed.
        system: by which.
        settings_for: see `SettingsFor`.
        tools_for: see `ToolsFor`.
    """

    folder: Path
    story: BenchStory
    system: System
    settings_for: SettingsFor
    tools_for: ToolsFor

    def check(self) -> None:
        """See that the story has what the system needs.

        Raises:
            ScriptError: the script has mistakes.
            FilmError: there are to be portraits, and of nobody can one be made.
        """
        if not self.system.portraits:
            return
        written, settings = self._asked()
        if not portraits_of(self.system.story(written), settings):
            raise FilmError(
                f"{self.story.name}: the script has no cast with descriptions or portraits, so the system "
                f"{self.system.name} has none to make: leave that system out, or describe the cast in the script."
            )

    def _asked(self) -> tuple[Story, FilmSettings]:
        """The story as it is written, and the settings of this film of it."""
        assert self.story.script is not None
        written = parse_story(self.story.script, f"{self.story.name}{self.story.suffix}", None)
        return written, self.system.settings(self.settings_for(written))

    def run(self) -> float:
        """Make the film, or what is missing of it; gives the seconds that took.

        Raises:
            StoryMemError: as `Film.begin` and `Director.generate`.
        """
        from storymem.film.director import Director
        from storymem.film.export import export_film
        from storymem.film.project import Film
        from storymem.story.write import dump_story

        begun = perf_counter()
        written, settings = self._asked()
        told = self.system.story(written)
        place = self.folder / self.system.name / self.story.name
        make_folder(place.parent)
        tools = self.tools_for(settings.memory)
        with Film.begin(place, story=told, script=dump_story(told).encode(), settings=settings, tools=tools) as film:
            for _ in Director(film, tools).generate():
                pass
            export_film(film, _PRODUCTS)
        return perf_counter() - begun


def make_films(jobs: Sequence[FilmJob], *, processes: int = 1) -> Iterator[tuple[FilmJob, float]]:
    """Make films; each is given out when it is done, with the seconds it took.

    Stopped and run again, what is finished is not made again.

    Args:
        jobs: which.
        processes: side by side; each loads the model for itself.

    Raises:
        StoryMemError: a film could not be made; films that others are at work on are finished first. What a story lacks
            is told before any is made.
    """
    for job in jobs:
        job.check()
    if processes <= 1:
        for job in jobs:
            yield job, job.run()
        return
    from multiprocessing import get_context

    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(FilmJob.run, job): job for job in jobs}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            for waiting in running:
                waiting.cancel()


def make_controls(folder: Path, suite: Suite, names: Sequence[str], *, fps: int = 16) -> Iterator[tuple[str, str]]:
    """Write the films of `CONTROLS` that are missing; each is given out as (control, story).

    Args:
        folder: of the bench.
        suite: has real pictures.
        names: which controls; all others are made of ``real``, so that is written in any case.
        fps: frames per second of the clips.

    Raises:
        FilmError: the suite has no real pictures, or only one story to shuffle.
        StorageError: the system refused a write.
    """
    if not names:
        return
    stories = [story.name for story in suite.stories()]
    for name in ("real", *(name for name in names if name != "real")):
        for index, story in enumerate(stories):
            place = folder / name / story
            if (place / DONE).is_file():
                continue
            make_folder(place)
            shots = _real(suite, index) if name == "real" else _control(name, index, stories, folder / "real")
            for number, frames in enumerate(shots, 1):
                write_video(place / f"{number:02d}.mkv", iter(frames), fps, codec="ffv1")
            replace_file(place / DONE, b"")
            yield name, story


def _real(suite: Suite, index: int) -> list[list[Uint8Array]]:
    shots = suite.real(index)
    if shots is None:
        raise FilmError(f"the suite {suite.name} has no real pictures, of which controls are made: name systems only.")
    return shots


def _clips(film: Path) -> list[Path]:
    return sorted(film.glob("*.mkv"), key=lambda path: natural_order(path.name))  # the hundredth behind the eleventh


def _control(name: str, index: int, stories: Sequence[str], real: Path) -> Iterator[list[Uint8Array]]:
    own = _clips(real / stories[index])
    first = list(read_video(own[0]))
    for number, path in enumerate(own):
        if name == "shuffled":
            if len(stories) < 2:
                raise FilmError("shots can only be shuffled between two stories or more: raise --stories.")
            other = stories[(index + 1 + number % (len(stories) - 1)) % len(stories)]
            theirs = _clips(real / other)
            yield list(read_video(theirs[number % len(theirs)]))
            continue
        count = probe_video(path).num_frames
        if name == "frozen":
            yield [first[len(first) // 2]] * count
        else:
            rng = np.random.default_rng([index, number])
            yield [rng.integers(0, 256, first[0].shape, dtype=np.uint8) for _ in range(count)]
