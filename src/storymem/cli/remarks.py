"""What a user should know before a film is made: sentences about the model, and about what it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storymem.cli.prompts import too_long
from storymem.film.portraits import shots_until
from storymem.models.catalog import CATALOG
from storymem.settings import SamplingConfig
from storymem.story.notes import notes_on
from storymem.worlds.storyland import strange_words

if TYPE_CHECKING:
    from storymem.film.film_settings import FilmSettings
    from storymem.film.resolve import ResolvedModel
    from storymem.story.model import Story

__all__ = ["remarks"]


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
    guidance = max(settings.sampling.guidance_scale, settings.sampling.guidance_scale_2 or 1)
    asked = {settings.negative_prompt, *(shot.negative_prompt for shot in story.shots)}
    if guidance <= 1 and asked - {"", None, resolved.negative_prompt}:  # the model's own is nobody's wish
        said.append("the negative prompt has no effect at guidance 1; it needs --guidance above 1.")
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
