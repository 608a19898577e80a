"""Shots that were inserted, moved or taken out, so that takes are not where their prompts are any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from storymem.errors import FilmDamagedError

if TYPE_CHECKING:
    from storymem.film.plan import PlannedShot
    from storymem.film.project import Film
    from storymem.film.takes import Take

__all__ = ["moved_shots"]


def moved_shots(film: Film, plan: Sequence[PlannedShot]) -> dict[str, str]:
    """Shots without a take of their prompt, while a take of just this prompt lies with a shot that has another one.

    Shots without an `id` are known by their place, so one that is put in or taken out before them moves all prompts of
    a scene, and every take stays behind; that of the last, perhaps, with an id that is not in the script any more.

    Args:
        film: the film.
        plan: of it, from `storymem.film.plan.plan_film`.

    Returns:
        By the id of such a shot that of the shot that has its take. Prompts that two of these takes share tell nothing.
    """
    unfit = [planned for planned in plan if planned.shot.portrait_of is None and not _fits(planned)]
    if not unfit:
        return {}
    takes: dict[str, list[str]] = {}  # by their own words, with the cast woven in
    retakes: dict[str, list[str]] = {}  # by the words of the script that theirs stand in place of
    for take in (*(planned.take for planned in unfit), *_left(film, {planned.shot.id for planned in plan})):
        if take is None:
            continue
        takes.setdefault(take.record.recipe.prompt, []).append(take.record.shot_id)
        override = film.manifest.override(take.record.shot_id)
        if override.over is not None and override.prompt == take.record.prompt:
            retakes.setdefault(override.over, []).append(take.record.shot_id)
    found = {
        planned.shot.id: [*takes.get(planned.full_prompt, []), *retakes.get(planned.shot.prompt, [])]
        for planned in unfit
    }
    return {shot_id: homes[0] for shot_id, homes in found.items() if len(homes) == 1}


def _left(film: Film, there: set[str]) -> Iterator[Take | None]:
    """What was in the film of shots that left the script."""
    for shot_id in film.manifest.chosen:
        if shot_id not in there:
            with suppress(FilmDamagedError):  # of no use to anybody
                yield film.chosen_take(shot_id)


def _fits(planned: PlannedShot) -> bool:
    return planned.take is not None and planned.take.record.recipe.prompt == planned.full_prompt
