"""What a user should know before a film is made: sentences about the model, and about what it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storymem.cli.prompts import too_long
from storymem.film.critics import NO_CRITIC
from storymem.film.portraits import shots_until
from storymem.models.catalog import CATALOG
from storymem.settings import MemoryConfig, SamplingConfig
from storymem.story.notes import notes_on
from storymem.worlds.storyland import strange_words

if TYPE_CHECKING:
    from storymem.film.film_settings import FilmSettings
    from storymem.film.resolve import ResolvedModel
    from storymem.story.model import Story

__all__ = ["remarks"]

_OPTIONS = {
    "memory_stride": "--memory-stride",
    "memory_guidance_scale": "--memory-guidance",
    "max_keyframes_per_shot": "--keyframes",
    "similarity_threshold": "--similarity",
    "threshold_step": "threshold_step",  # only scripts can say it
    "quality_threshold": "--quality",
    "encoder": "--encoder",
    "scorer": "--scorer",
    "recall": "--recall",
}
"""What of a film's settings is of use with a memory only, and what it is called where it is asked for."""


def remarks(story: Story, settings: FilmSettings, resolved: ResolvedModel) -> list[str]:
    """One sentence each; none that would stop a film.

    Args:
        story: the story.
        settings: of the film.
        resolved: the model, with what it was made for.
    """
    name, said = resolved.model.name, []
    if resolved.note:
        said.append(resolved.note)
    entry = CATALOG.get(resolved.request.model)
    of_storyland = entry is not None and "storyland" in (entry.name, entry.base)
    shots = shots_until(story, settings, None)
    if of_storyland and (strange := strange_words(shot.prompt for shot in shots)):
        said.append(f"storyland has never seen these words and guesses: {', '.join(strange)}")
    said += notes_on(story)
    said += too_long(resolved.model.folder, shots)
    made_for = SamplingConfig(**resolved.sampling)
    # Of a folder that says nothing of itself nobody knows; the models of the catalogue have Wan's length if no other.
    is_known = "num_frames" in resolved.sampling or resolved.request.model in CATALOG
    said += _without_effect(story, settings, resolved, made_for)
    width, height = settings.sampling.width, settings.sampling.height
    if "width" in resolved.sampling and (width, height) != (made_for.width, made_for.height):
        said.append(
            f"{name} was made for pictures of {made_for.width}x{made_for.height}; "
            f"at {width}x{height} it may draw worse."
        )
    longest = max(shot.frames(settings.sampling) for shot in story.shots)
    if is_known and longest > made_for.num_frames:
        said.append(
            f"{name} was made for shots of {made_for.num_frames} frames ({made_for.num_frames / made_for.fps:.1f} s at "
            f"{made_for.fps} fps); the longest here has {longest}, which takes longer and may come out worse."
        )
    return said


def _without_effect(
    story: Story, settings: FilmSettings, resolved: ResolvedModel, made_for: SamplingConfig
) -> list[str]:
    """What is asked for and changes nothing; what the model itself was made with is nobody's wish."""
    said, sampling, memory = [], settings.sampling, settings.memory
    first = {} if resolved.first is None else resolved.first.sampling  # shots of that model have its guidance
    asked = {settings.negative_prompt, *(shot.negative_prompt for shot in story.shots)}
    of_film = [sampling.guidance_scale, sampling.guidance_scale_2]
    of_first = [first.get("guidance_scale"), first.get("guidance_scale_2")]
    is_guided = max(scale or 1 for scale in (*of_film, *of_first)) > 1
    if not is_guided and asked - {"", None, resolved.negative_prompt}:
        said.append("the negative prompt has no effect at guidance 1; it needs --guidance above 1.")
    if not is_guided and sampling.batch_cfg:
        said.append("--batch-cfg has no effect at guidance 1; it needs --guidance above 1.")
    leads = bool(memory.capacity) and sampling.memory_guidance_scale > 1
    if not (is_guided or leads) and sampling.guidance_every not in (1, made_for.guidance_every):
        said.append("--guidance-every has no effect at guidance 1; it needs --guidance or --memory-guidance above 1.")
    if settings.takes > 1 and settings.critic == NO_CRITIC:
        said.append(
            f"nobody chooses among the {settings.takes} takes of each shot: the first goes into the film, and "
            "`storymem choose` takes another."
        )
    if memory.capacity:
        if memory.scorer == "none" and memory.quality_threshold is not None:
            said.append("the quality threshold has no effect with the scorer none; it needs another --scorer.")
        return said
    suits = MemoryConfig(**resolved.memory)
    idle = [
        option
        for name, option in _OPTIONS.items()
        for now, own in ((sampling, made_for), (memory, suits))
        if getattr(now, name, None) != getattr(own, name, None)
    ]
    if idle:
        has = "has" if len(idle) == 1 else "have"
        said.append(f"{', '.join(idle)} {has} no effect without a memory; give a --memory-size above 0.")
    if story.defaults.portraits or any(character.portrait for character in story.cast):
        said.append("the script's portraits are not made without a memory; give a --memory-size above 0.")
    return said
