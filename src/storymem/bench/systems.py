"""The systems that a suite can be made with: changes to a film's settings and story, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storymem.errors import SettingsError
from storymem.film.film_settings import FilmSettings
from storymem.story import Story

__all__ = ["CONTROLS", "GUIDED", "METHOD", "SYSTEMS", "System", "systems_named"]


@dataclass(frozen=True)
class System:
    """A way to make films, as what it changes of the model's own settings.

    Attributes:
        name: on the command line, and of its folder.
        says: what it is, in one sentence.
        sampling: fields of `SamplingConfig` that it sets.
        memory: fields of `MemoryConfig` that it sets.
        chained: every shot but the first continues the one before, whatever the script says.
        portraits: the cast has portraits, those that the script asks for or else the model's own (see
            `storymem.film.portraits`). Without it nobody has one, whatever the script says.
    """

    name: str
    says: str
    sampling: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    chained: bool = False
    portraits: bool = False

    def settings(self, settings: FilmSettings) -> FilmSettings:
        """The settings of a film by this system."""
        changed = replace(
            settings,
            sampling=replace(settings.sampling, **self.sampling),
            memory=replace(settings.memory, **self.memory),
            portraits=self.portraits,
        )
        return replace(changed, continue_with="mi2v") if self.chained else changed

    def story(self, story: Story) -> Story:
        """The story as this system is given it."""
        if not self.portraits:
            story = replace(story, cast=tuple(replace(character, portrait=False) for character in story.cast))
        if not self.chained:
            return story
        scenes = tuple(
            replace(scene, shots=tuple(replace(shot, cut=shot.index == 0) for shot in scene.shots))
            for scene in story.scenes
        )
        return replace(story, scenes=scenes)


METHOD: Mapping[str, Any] = {"memory_guidance_scale": 1.0}
"""Fields of `SamplingConfig`: the method has no guidance by memory, whatever a model's own settings are."""

_GUIDANCE = 2.0
GUIDED: Mapping[str, Any] = {"memory_guidance_scale": _GUIDANCE}
"""Likewise: as strong as helped a small model that had not learned to do without."""

SYSTEMS: Mapping[str, System] = {
    system.name: system
    for system in (
        System(
            "no-memory",
            "Every shot from its prompt alone; one that goes on, from the last frame before it too.",
            memory={"capacity": 0, "sink": 0},
        ),
        System("memory", "The method as in the paper.", sampling=METHOD),
        System("guided-memory", f"The same, led by the memory: guidance of {_GUIDANCE:g}.", sampling=GUIDED),
        System(
            "first-frame-only",
            "The first good frame of each shot is remembered, without semantic selection.",
            sampling=METHOD,
            memory={"max_keyframes_per_shot": 1, "similarity_threshold": 1.0},
        ),
        System("no-sink", "The memory keeps the most recent keyframes only.", sampling=METHOD, memory={"sink": 0}),
        System("stride-1", "Memory right before the video in time: S = 1.", sampling={**METHOD, "memory_stride": 1}),
        System(
            "portraits",
            "A portrait of each of the cast is made before the film; a shot sees those of whom it names.",
            sampling=METHOD,
            memory={"recall": "cast"},
            portraits=True,
        ),
        System(
            "last-frame-chain",
            "No memory; every shot begins with the last frame of the one before.",
            memory={"capacity": 0, "sink": 0},
            chained=True,
        ),
    )
}
"""What can be compared. Everything that a system does not say is as the model, and the script, have it."""

CONTROLS: Mapping[str, str] = {
    "real": "The suite's own pictures: how good it can get.",
    "shuffled": "Real shots, each from another story: what coherence by chance is.",
    "frozen": "One frame of the real film, for ever: what copies earn.",
    "noise": "Noise: what rubbish earns.",
}
"""Films that no system made, for suites that have pictures of their own: they give every number its scale."""


def systems_named(names: str) -> tuple[list[System], list[str]]:
    """The systems and the controls of a list with commas.

    Raises:
        SettingsError: a name is unknown, or there is none.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in wanted if name not in SYSTEMS and name not in CONTROLS]
    if unknown or not wanted:
        what = f"{unknown[0]!r} is no system" if unknown else "no system is named"
        raise SettingsError(f"--systems: {what}; there are {', '.join((*SYSTEMS, *CONTROLS))}.")
    return [SYSTEMS[name] for name in wanted if name in SYSTEMS], [name for name in wanted if name in CONTROLS]
