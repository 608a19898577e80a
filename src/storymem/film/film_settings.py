"""What is set once for a whole film."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from storymem.errors import SettingsError
from storymem.film.critics import NO_CRITIC
from storymem.settings import MemoryConfig, SamplingConfig, check_seed
from storymem.story.model import DEFAULT_FPS, Story

__all__ = ["PORTRAIT_PROMPT", "FilmSettings"]

Said = TypeVar("Said")

PORTRAIT_PROMPT = "{name} looks into the camera, in front of a plain light wall. Medium shot."
"""The prompt of a portrait where the model suggests none; ``{name}`` is the character's."""


@dataclass(frozen=True, slots=True)
class FilmSettings:
    """What is set once for a whole film.

    Attributes:
        sampling: how shots are sampled; a shot's own length takes the place of `num_frames`.
        memory: how keyframes are chosen and kept.
        seed: where the seeds of the shots come from.
        continue_with: a shot without a cut begins with the last frame of the one before (``mi2v``) or its last five
            (``mm2v``).
        negative_prompt: of every shot without its own.
        portraits: every described character without reference images gets a portrait, unless the script says otherwise.
        portrait_prompt: of the portraits to which the script gives none; ``{name}`` is the character's name.
        takes: how many are made of each portrait and shot to which neither the script nor a retake gives a seed.
        critic: which of them goes into the film, by the name of one of `storymem.film.critics`; ``none``: the first.
    """

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    seed: int = 0
    continue_with: Literal["mi2v", "mm2v"] = "mi2v"
    negative_prompt: str = ""
    portraits: bool = False
    portrait_prompt: str = PORTRAIT_PROMPT
    takes: int = 1
    critic: str = NO_CRITIC

    def __post_init__(self) -> None:
        if self.takes < 1:
            raise SettingsError(f"takes is {self.takes}; there must be at least 1 of each shot.")
        if self.continue_with not in ("mi2v", "mm2v"):
            raise SettingsError(f"continue_with is {self.continue_with!r}; it must be mi2v or mm2v.")
        check_seed(self.seed)

    @classmethod
    def for_story(
        cls,
        story: Story,
        *,
        sampling: Mapping[str, Any] | None = None,
        memory: Mapping[str, Any] | None = None,
        seed: int | None = None,
        continue_with: Literal["mi2v", "mm2v"] = "mi2v",
        negative_prompt: str | None = None,
        portraits: bool | None = None,
        portrait_prompt: str | None = None,
        takes: int | None = None,
        critic: str | None = None,
    ) -> FilmSettings:
        """The settings of a story's film: our defaults, over them what the script says, over that what is given here.

        Args:
            story: the story.
            sampling: fields of `SamplingConfig`; None as a value means not given.
            memory: fields of `MemoryConfig`, likewise.
            seed: the film's seed.
            continue_with: see the class.
            negative_prompt: of every shot without its own.
            portraits: see the class.
            portrait_prompt: see the class.
            takes: see the class.
            critic: see the class.

        Raises:
            SettingsError: a value is outside its range.
        """
        said = story.defaults
        chosen = {**said.sampling(), **_given(sampling)}
        if said.duration is not None and "num_frames" not in chosen:
            chosen["num_frames"] = said.frames(chosen.get("fps", DEFAULT_FPS))
        return cls(
            sampling=replace(SamplingConfig(), **chosen),
            memory=replace(MemoryConfig(), **{**said.memory(), **_given(memory)}),
            seed=_first_said(seed, said.seed, 0),
            continue_with=continue_with,
            negative_prompt=_first_said(negative_prompt, said.negative_prompt, ""),
            portraits=_first_said(portraits, said.portraits, False),
            portrait_prompt=_first_said(portrait_prompt, PORTRAIT_PROMPT),
            takes=_first_said(takes, said.takes, 1),
            critic=_first_said(critic, NO_CRITIC),
        )


def _given(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (values or {}).items() if value is not None}


def _first_said(*values: Said | None) -> Said:
    return next(value for value in values if value is not None)
