"""Storyland as a suite of the bench: stories by lot, with ground truth, real pictures and a reader of attributes."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from storymem.bench.readers import AttributeReader, ShotSeen
from storymem.bench.suites import BenchStory, SuiteOptions
from storymem.errors import ModelError
from storymem.media import FloatArray, Uint8Array, to_uint8
from storymem.worlds.storyland.rendering import DRAWINGS, render
from storymem.worlds.storyland.scripts import story_script, story_truth
from storymem.worlds.storyland.stories import WorldStory, sample_story

if TYPE_CHECKING:
    from storymem.worlds.storyland.reader import Reader, ShotReading

__all__ = ["StorylandReader", "StorylandSuite"]

_SETTING = ("place", "time", "weather", "shot_type")
_WIDTH, _HEIGHT, _FRAMES = 112, 64, 17
# Of each hero with its looks. The small model's own, but not read from the catalogue: a suite's texts stay as they are.
_PORTRAIT = "{name} waves in the meadow at noon. Medium shot."


class StorylandSuite:
    """Stories of heroes and places that training never saw; every other story has two heroes.

    Args:
        options: `stories` (8 if not given), `shots`, `seed`, and size, length and frame rate of the real pictures,
            which must be those that the films are made with for the truth to say what can be seen.
    """

    name = "storyland"

    def __init__(self, options: SuiteOptions) -> None:
        self._options = options
        self._size = (options.num_frames or _FRAMES, options.height or _HEIGHT, options.width or _WIDTH)
        self._stories: list[WorldStory] = [
            sample_story(
                options.seed + index,
                shots=options.shots,
                heroes=1 + index % 2,
                num_frames=self._size[0],
                fps=options.fps,
                continued=0.25,
            )
            for index in range(options.stories or 8)
        ]

    def description(self) -> dict[str, Any]:
        """See `Suite.description`."""
        frames, height, width = self._size
        return {
            "suite": self.name,
            "version": DRAWINGS,
            "seeds": [story.seed for story in self._stories],
            "shots": self._options.shots,
            "size": f"{width}x{height}",
            "num_frames": frames,
            "fps": self._options.fps,
        }

    def stories(self) -> Sequence[BenchStory]:
        """See `Suite.stories`."""
        return [
            BenchStory(f"story-{story.seed:04d}", story_script(story, portraits=_PORTRAIT), truth=self._truth(story))
            for story in self._stories
        ]

    def real(self, index: int) -> list[list[Uint8Array]]:
        """See `Suite.real`: the drawings themselves."""
        shots = self._stories[index].shots
        drawn = render([shot.spec for shot in shots], *self._size, fps=self._options.fps)
        pixels = to_uint8(drawn.permute(0, 2, 1, 3, 4).numpy())
        # A shot that goes on begins with the last frame of the one before.
        return [list(frames if shot.cut else frames[1:]) for frames, shot in zip(pixels, shots, strict=True)]

    def reader(self) -> AttributeReader:
        """See `Suite.reader`."""
        return StorylandReader()

    def _truth(self, story: WorldStory) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "characters": [
                    {key: hero[key] for key in ("name", "attributes", "visible", "told")} for hero in shot["heroes"]
                ],
                "setting": {key: shot[key] for key in _SETTING if shot[key] is not None},
            }
            for shot in story_truth(story, *self._size, fps=self._options.fps)["shots"]
        )


class StorylandReader:
    """The package's reader of Storyland, as the bench knows readers. It is loaded when it is first asked.

    With two heroes in the truth, those that were found are matched to them so that most attributes agree: a prompt does
    not say who stands on the left.
    """

    name = "storyland"

    def __init__(self) -> None:
        self._loaded: Reader | None = None

    @property
    def _reader(self) -> Reader:
        if self._loaded is None:
            from storymem.worlds.storyland.reader import load_reader

            self._loaded = load_reader()
        return self._loaded

    @property
    def identity(self) -> str:
        """See `AttributeReader.identity`: of the weights that the package ships.

        Raises:
            ModelError: it ships none.
        """
        weights = resources.files(__package__) / "reader.safetensors"
        try:
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(
                f"{weights}: the reader of Storyland lacks its weights ({error.strerror}): use --reader none."
            ) from error
        return f"storyland-reader-1:{digest[:16]}"

    @property
    def accuracy(self) -> Mapping[str, float]:
        """See `AttributeReader.accuracy`."""
        return self._reader.accuracy

    def read(self, frames: FloatArray, truth: Mapping[str, Any]) -> ShotSeen:
        """See `AttributeReader.read`."""
        return match_reading(self._reader.read(frames), truth)


def match_reading(reading: ShotReading, truth: Mapping[str, Any]) -> ShotSeen:
    """What was read, with the heroes in the order of the truth; a hero that nobody was found for is empty."""
    wanted = [character["attributes"] for character in truth["characters"]]
    found: list[Mapping[str, str | None]] = [hero.attributes for hero in reading.heroes]
    found += [{}] * (len(wanted) - len(found))

    def agreement(order: tuple[int, ...]) -> int:
        return sum(
            name in found[index] and found[index][name] == value
            for true, index in zip(wanted, order, strict=True)
            for name, value in true.items()
        )

    best = max(itertools.permutations(range(len(found)), len(wanted)), key=agreement)
    return ShotSeen(tuple(found[index] for index in best), {name: getattr(reading, name) for name in _SETTING})
