"""What a story is once its script has been read and checked: plain frozen values, with nothing left to validate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from storymem.settings import MemoryConfig, Recall, SamplingConfig, Solver

__all__ = ["DEFAULT_FPS", "MAX_NUM_FRAMES", "Character", "FilmDefaults", "Scene", "Shot", "Story", "frames_for"]

DEFAULT_FPS: int = SamplingConfig().fps
"""Frames per second that durations are counted with when the script does not say."""

MAX_NUM_FRAMES = 9997
"""The longest shot, in pixel frames: a larger number is a slip of the pen, and no model makes so long a shot."""


def frames_for(seconds: float, fps: int) -> int:
    """The number of frames of the form 4k + 1 that is nearest to `seconds`; of two equally near ones, the longer.

    The video VAE packs four frames into one latent frame and the first frame alone into another, so that only these
    lengths exist.
    """
    return 4 * max(0, int((seconds * fps - 1) / 4 + 0.5)) + 1


@dataclass(frozen=True, slots=True)
class Character:
    """One of the cast.

    Attributes:
        name: as prompts write it.
        description: what is woven into prompts that name the character; may be empty.
        references: absolute paths of reference images, in the script's order: the film's first memory.
        portrait: the prompt of a portrait that is made before the film and remembered as a reference image is; True
            for the prompt that the film's model suggests, False for none; None leaves it to the film.
        called: what prompts call the character beside the name, such as "the girl".
    """

    name: str
    description: str = ""
    references: tuple[Path, ...] = ()
    portrait: bool | str | None = None
    called: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shot:
    """One shot; or, with `portrait_of`, the portrait of a character, made like a shot but no part of the film.

    Attributes:
        id: stable, unique in the film and safe as a file name: ``01-02`` is scene 1, shot 2; or the script's own `id`.
        index: 0-based position in the film; of a portrait, among the portraits.
        scene: 1-based number of its scene; 0 for a portrait.
        prompt: as written in the script, without blanks at its ends.
        full_prompt: the prompt with the cast woven in: what the text encoder gets.
        cut: True if the shot begins with a cut, False if it continues the one before.
        seed: the script's own seed, if it gives one.
        num_frames: pixel frames, 4k + 1, if the script gives a length in frames.
        duration: seconds, if the script gives a length in seconds; how many frames that are depends on the film's fps.
        negative_prompt: the script's own, if it gives one.
        forget: this shot and those after it do not see what was made before it; references and pinned keyframes stay.
        first_frame_prompt: a description of the first frame, as ST-Bench carries it; kept, not used by the model.
        characters: names of the cast that the prompt names, in order of first mention.
        describe_cast: the cast's descriptions go into this prompt, and into one that takes its place.
        portrait_of: name of the character whose portrait it is; None for a shot of the film.
        shows: names of those of the cast who are in the shot, if the script says so beside the prompt; None: whom the
            prompt names.
    """

    id: str
    index: int
    scene: int
    prompt: str
    full_prompt: str
    cut: bool
    seed: int | None = None
    num_frames: int | None = None
    negative_prompt: str | None = None
    forget: bool = False
    first_frame_prompt: str | None = None
    characters: tuple[str, ...] = ()
    duration: float | None = None
    describe_cast: bool = True
    portrait_of: str | None = None
    shows: tuple[str, ...] | None = None

    def frames(self, sampling: SamplingConfig) -> int:
        """How many pixel frames the shot has in a film of these settings."""
        if self.num_frames is not None:
            return self.num_frames
        return sampling.num_frames if self.duration is None else frames_for(self.duration, sampling.fps)


@dataclass(frozen=True, slots=True)
class Scene:
    """Shots that belong together; `number` is 1-based."""

    number: int
    shots: tuple[Shot, ...]
    title: str | None = None


@dataclass(frozen=True, slots=True)
class FilmDefaults:
    """Settings that a script fixes for its film; None means that the script does not say.

    The fields up to `memory_stride` are those of `SamplingConfig`, those from `capacity` to `scorer`, and `recall`, of
    `MemoryConfig`. `duration` is the length of a shot in seconds, in place of `num_frames`; it is counted with the
    film's fps, whoever says that. `seed` is the film's own seed, `negative_prompt` the one of every shot without its
    own, `model` and `lora` names or folders as the command line takes them. With `portraits` every described character
    without pictures gets a portrait; `takes` is how many are made of each shot.
    """

    width: int | None = None
    height: int | None = None
    num_frames: int | None = None
    fps: int | None = None
    num_inference_steps: int | None = None
    solver: Solver | None = None
    shift: float | None = None
    boundary_ratio: float | None = None
    guidance_scale: float | None = None
    guidance_scale_2: float | None = None
    memory_guidance_scale: float | None = None
    guidance_every: int | None = None
    memory_stride: int | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    model: str | None = None
    lora: str | None = None
    capacity: int | None = None
    sink: int | None = None
    max_keyframes_per_shot: int | None = None
    similarity_threshold: float | None = None
    threshold_step: float | None = None
    quality_threshold: float | None = None
    encoder: str | None = None
    scorer: str | None = None
    duration: float | None = None
    portraits: bool | None = None
    takes: int | None = None
    recall: Recall | None = None

    def frames(self, fps: int) -> int | None:
        """How many pixel frames a shot without a length of its own has at this rate; None if it is not said."""
        return self.num_frames if self.duration is None else frames_for(self.duration, fps)

    def sampling(self) -> Mapping[str, object]:
        """What the script says of `SamplingConfig`: keyword arguments for it or for `dataclasses.replace`.

        A `duration` is not among them: how many `frames` it is depends on the film's fps.
        """
        return self._said(SamplingConfig)

    def memory(self) -> Mapping[str, object]:
        """What the script says of `MemoryConfig`: keyword arguments for it or for `dataclasses.replace`."""
        return self._said(MemoryConfig)

    def _said(self, config: type) -> dict[str, object]:
        names = {field.name for field in fields(config)} & {field.name for field in fields(self)}
        return {name: value for name in sorted(names) if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class Story:
    """A checked story.

    Attributes:
        title: of the film.
        overview: the story in a few sentences; may be empty.
        scenes: in order; every scene has at least one shot.
        cast: in the script's order.
        defaults: settings the script fixes.
        source: the file it was read from, if there is one.
    """

    title: str
    overview: str
    scenes: tuple[Scene, ...]
    cast: tuple[Character, ...] = ()
    defaults: FilmDefaults = FilmDefaults()
    source: Path | None = None

    @property
    def shots(self) -> tuple[Shot, ...]:
        """All shots of the film, in order."""
        return tuple(shot for scene in self.scenes for shot in scene.shots)

    @property
    def scene_titles(self) -> dict[int, str]:
        """What each scene is called, by its number; empty where the script does not say."""
        return {scene.number: scene.title or "" for scene in self.scenes}

    @property
    def references(self) -> tuple[Path, ...]:
        """Reference images of the whole cast, in order: the film's first memory."""
        return tuple(path for character in self.cast for path in character.references)
