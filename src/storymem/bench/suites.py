"""What is filmed: suites of stories, by name. Suites that need a world register themselves from outside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from storymem.bench.naming import natural_order
from storymem.bench.readers import AttributeReader
from storymem.errors import MediaError, SettingsError
from storymem.film.storage import hash_file
from storymem.media import Uint8Array, from_uint8, probe_video, read_video, resize_frame, to_uint8

__all__ = ["BenchStory", "FootageSuite", "ScriptSuite", "Suite", "SuiteOptions", "open_suite", "register_suite"]


@dataclass(frozen=True)
class BenchStory:
    """One story of a suite.

    Attributes:
        name: file-name safe, unique in the suite.
        script: the text of its script; None for real footage, of which no script is known.
        suffix: ``.yaml`` or ``.json``, in small letters.
        truth: what is in every shot (see `AttributeReader`), if it is known.
    """

    name: str
    script: str | None
    suffix: str = ".yaml"
    truth: tuple[Mapping[str, Any], ...] | None = None

    def truth_text(self) -> str | None:
        """The content of ``truth.json``."""
        return None if self.truth is None else json.dumps({"shots": list(self.truth)}, indent=1)


@dataclass(frozen=True)
class SuiteOptions:
    """What suites can be told; each uses what it needs.

    Attributes:
        source: a folder or file that the suite is made from.
        stories: how many; None: as many as there are.
        shots: of each story, where the suite makes stories up.
        seed: where made-up stories begin.
        width: pixels of the suite's own pictures; None: as they come.
        height: likewise.
        num_frames: of a shot; None: as they come.
        fps: frames per second.
    """

    source: Path | None = None
    stories: int | None = None
    shots: int = 8
    seed: int = 0
    width: int | None = None
    height: int | None = None
    num_frames: int | None = None
    fps: int = 16


class Suite(Protocol):
    """Stories to be filmed, and perhaps real pictures of them."""

    @property
    def name(self) -> str:
        """On the command line."""

    def description(self) -> dict[str, Any]:
        """What decides the stories, as JSON values: written into the folder, and compared when it is gone on with."""

    def stories(self) -> Sequence[BenchStory]:
        """All of them, in order."""

    def real(self, index: int) -> list[list[Uint8Array]] | None:
        """The real shots of a story, as a film shows them (nothing repeated); None if there are none."""

    def reader(self) -> AttributeReader | None:
        """What reads the attributes of the suite's truth off pictures; None if nothing does."""


SuiteFactory = Callable[[SuiteOptions], Suite]
_factories: dict[str, SuiteFactory] = {}


def register_suite(name: str, factory: SuiteFactory) -> None:
    """Make a suite known by a name."""
    _factories[name] = factory


def open_suite(name: str, options: SuiteOptions) -> Suite:
    """The suite of that name.

    Raises:
        SettingsError: there is none, or it lacks an option.
    """
    if name not in _factories:
        raise SettingsError(f"{name!r} is no suite; there are {', '.join(sorted(_factories))}.")
    return _factories[name](options)


class ScriptSuite:
    """ST-Bench, or any scripts: every script in a folder is a story.

    Args:
        options: `source` is the folder.

    Raises:
        SettingsError: there is no folder, no script in it, or two scripts whose stories would have one name.
        ScriptError: a script has mistakes.
    """

    name = "st-bench"

    def __init__(self, options: SuiteOptions) -> None:
        from storymem.story import load_story

        if options.source is None or not options.source.is_dir():
            raise SettingsError(
                "the suite st-bench needs --source: a folder of scripts, such as the 30 JSON files of ST-Bench that "
                "the method's authors publish."
            )
        endings = (".json", ".json5", ".yaml", ".yml")
        paths = sorted(path for path in options.source.iterdir() if path.suffix.lower() in endings)[: options.stories]
        if not paths:
            raise SettingsError(f"{options.source}: has no scripts (.json, .yaml) in it: give another --source.")
        self._stories = []
        for name, path in _named(paths).items():
            if load_story(path).references:
                raise SettingsError(
                    f"{path}: has reference images, which a bench does not carry with it: leave them out of the script."
                )
            self._stories.append(BenchStory(name, path.read_text(encoding="utf-8"), path.suffix.lower()))

    def description(self) -> dict[str, Any]:
        """See `Suite.description`."""
        digests = {one.name: hashlib.sha256((one.script or "").encode()).hexdigest() for one in self._stories}
        return {"suite": self.name, "stories": list(digests), "scripts": digests}

    def stories(self) -> Sequence[BenchStory]:
        """See `Suite.stories`."""
        return self._stories

    def real(self, index: int) -> None:
        """See `Suite.real`; scripts have no pictures."""
        return

    def reader(self) -> None:
        """See `Suite.reader`; nobody knows what is true."""
        return


class FootageSuite:
    """Real films: every video is cut into shots by scene detection; of a folder without cuts every video is a shot.

    Args:
        options: `source` is one video, a folder of videos (each a film), or a folder of folders of clips (each folder a
            film, each clip a shot, in the order of the numbers in their names). `shots` is how many shots in a row make
            one film; the rest of a video makes more films. `stories` limits their number.

    Raises:
        SettingsError: there is no source, or two films would have one name.
        MediaError: there are no videos, or one cannot be read.
        MissingExtraError: PySceneDetect is not installed, and there are videos to be cut.
    """

    name = "footage"

    def __init__(self, options: SuiteOptions) -> None:
        if options.source is None:
            raise SettingsError("the suite footage needs --source: a video, a folder of videos, or folders of clips.")
        self._options = options
        self._place: tuple[Path, int, Iterator[Uint8Array]] | None = None  # the video being read, and how far
        self._films: list[tuple[str, list[tuple[Path, int, int | None]]]] = []
        self._find(options.source)
        if options.stories is not None:
            self._films = self._films[: options.stories]

    def _find(self, source: Path) -> None:
        from storymem.training.prepare import detect_shots, find_videos

        clips = sorted(path for path in source.iterdir() if path.is_dir()) if source.is_dir() else []
        if clips:
            for name, folder in _named(clips).items():
                videos = sorted(find_videos([folder]), key=lambda path: _place_in(path, folder))
                self._films.append((name, [(path, 0, None) for path in videos]))
            return
        for name, video in _named(find_videos([source])).items():
            shots = [(video, first, end) for first, end in detect_shots(video) if end - first >= _SHORTEST]
            size = self._options.shots
            parts = [shots[i : i + size] for i in range(0, len(shots), size)]
            for number, part in enumerate(parts, 1):
                if len(part) >= min(3, size):  # a rest of one or two shots is no film
                    self._films.append((f"{name}-{number:02d}", list(part)))

    def description(self) -> dict[str, Any]:
        """See `Suite.description`.

        Raises:
            MediaError: a video cannot be read.
        """
        options = self._options
        films = {name: [[path.name, first, end] for path, first, end in shots] for name, shots in self._films}
        contents: dict[Path, str] = {}
        for _, shots in self._films:
            for path, _, _ in shots:
                contents[path] = contents.get(path) or _content(path)
        return {
            "suite": self.name,
            "films": films,
            "sources": {name: list(dict.fromkeys(contents[one[0]] for one in shots)) for name, shots in self._films},
            "size": f"{options.width}x{options.height}" if options.width and options.height else None,
            "num_frames": self._most,
            "fps": options.fps,
        }

    def stories(self) -> Sequence[BenchStory]:
        """See `Suite.stories`; nobody has written scripts for them."""
        return [BenchStory(name, None) for name, _ in self._films]

    @property
    def _most(self) -> int:
        return self._options.num_frames or 81

    def real(self, index: int) -> list[list[Uint8Array]]:
        """See `Suite.real`: of each shot at most `num_frames` from its middle (81 if not given), at the wanted size."""
        most = self._most
        shots = []
        for path, found, found_end in self._films[index][1]:
            first = found if found_end is None else found + _MARGIN
            end = probe_video(path).num_frames if found_end is None else found_end - _MARGIN
            start = first + max(0, (end - first - most) // 2)
            shots.append(self._read(path, start, min(end, start + most)))
        return shots

    def _read(self, path: Path, start: int, end: int) -> list[Uint8Array]:
        """Frames of a video; asked for in order, the video is read once."""
        if self._place is None or self._place[0] != path or self._place[1] > start:
            self._place = (path, 0, iter(read_video(path)))
        _, position, rest = self._place
        frames = [self._sized(frame) for frame in islice(rest, start - position, end - position)]
        self._place = (path, end, rest)
        return frames

    def _sized(self, frame: Uint8Array) -> Uint8Array:
        width, height = self._options.width, self._options.height
        return to_uint8(resize_frame(from_uint8(frame), width, height)) if width and height else frame

    def reader(self) -> None:
        """See `Suite.reader`; nobody knows what is true."""
        return


_MARGIN = 2  # frames left out at both ends of a found shot: a cut is not always where it was found
_SHORTEST = 12


def _place_in(path: Path, folder: Path) -> tuple[object, ...]:
    """What to sort the videos below a folder by."""
    return tuple(natural_order(part) for part in path.relative_to(folder).parts)


def _content(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise MediaError(f"{path}: the video cannot be read ({error.strerror or error}): mend its rights.") from error


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Scripts, videos or folders by the names of their stories.

    Raises:
        SettingsError: two would have one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = _safe(path.name if path.is_dir() else path.stem)
        if name in found:
            raise SettingsError(f"{found[name]} and {path}: both would be the story {name}: give one another name.")
        found[name] = path
    return found


def _safe(name: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name).strip("-_")
    return kept or "story"


register_suite("st-bench", ScriptSuite)
register_suite("footage", FootageSuite)
