"""Shots that were inserted, moved or taken out, so that takes are not where their prompts are any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storymem.film.plan import PlannedShot

__all__ = ["moved_shots"]


def moved_shots(plan: Sequence[PlannedShot]) -> dict[str, str]:
    """Shots without a take of their prompt, while a take of just this prompt lies with a shot that has another one.

    Shots without an `id` are known by their place, so one that is put in before them moves all prompts of a scene on,
    and every take stays behind.

    Args:
        plan: of a film, from `storymem.film.plan.plan_film`.

    Returns:
        By the id of such a shot that of the shot that has its take. Prompts that two of these takes share tell nothing.
    """
    unfit = [planned for planned in plan if planned.shot.portrait_of is None and not _fits(planned)]
    takes: dict[str, list[str]] = {}
    for planned in unfit:
        if planned.take is not None:
            takes.setdefault(planned.take.record.recipe.prompt, []).append(planned.shot.id)
    found = {planned.shot.id: takes.get(planned.full_prompt, []) for planned in unfit}
    return {shot_id: homes[0] for shot_id, homes in found.items() if len(homes) == 1}


def _fits(planned: PlannedShot) -> bool:
    return planned.take is not None and planned.take.record.recipe.prompt == planned.full_prompt
