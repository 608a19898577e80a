"""What a film needs: for every shot its mode, seed and memory, and whether its take in the film is the right one.

A film is a fold over its shots: the memory that a shot sees follows from the keyframes of the chosen takes before it.
`Walk` is that fold. Plan and director take the same walk, so what the plan says is what the director does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from storymem.errors import FilmDamagedError
from storymem.film import portraits
from storymem.film.maker import MOTION_FRAMES, Mode
from storymem.film.manifest import KeptTake
from storymem.film.project import Film
from storymem.film.recipe import Recipe
from storymem.film.takes import SeenKeyframe, Take
from storymem.film.walk import Sight, Walk
from storymem.memory.bank import frame_id
from storymem.story.model import Shot

__all__ = ["PlannedShot", "Status", "plan_film", "plan_shot", "recipe_of"]

Status = Literal["done", "stale", "missing", "damaged"]
"""The take in the film is the one it should be; was made from something that has changed; is not there; is broken."""

_DROP = {"t2v": 0, "m2v": 0, "mi2v": 1, "mm2v": MOTION_FRAMES}


@dataclass(frozen=True, slots=True)
class PlannedShot:
    """One shot of the plan.

    Attributes:
        shot: as in the script; or a portrait, see `storymem.film.portraits`.
        prompt: as its take has it: the script's, or that of a retake.
        full_prompt: the same with the cast woven in.
        negative_prompt: its own or the film's.
        seed: as its take has it.
        num_frames: its length.
        mode: what it is conditioned on; while the memory is not decided, the most likely one.
        memory: what it sees, oldest first; None while that is not decided.
        decided_after: the shot that must be made before the memory is decided.
        status: of the take in the film.
        reason: in words, why it has that status; empty if there is nothing to say.
        key: of the take that it should have; None while the memory is not decided.
        take: the take in the film, if there is a whole one.
        kept: all finished takes of the shot, oldest first.
        wanted: how many takes there are to be to choose from, if it is made.
        lacking: how many of them are not there yet.
    """

    shot: Shot
    prompt: str
    full_prompt: str
    negative_prompt: str
    seed: int
    num_frames: int
    mode: Mode
    memory: tuple[SeenKeyframe, ...] | None
    decided_after: str | None
    status: Status
    reason: str
    key: str | None
    take: Take | None
    kept: tuple[KeptTake, ...]
    wanted: int = 1
    lacking: int = 1

    @property
    def drop(self) -> int:
        """Frames at the take's start that repeat the end of the shot before."""
        return _DROP[self.take.record.mode if self.take is not None else self.mode]

    def to_json(self) -> dict[str, Any]:
        """The planned shot as JSON values."""
        return {
            "shot_id": self.shot.id,
            "index": self.shot.index,
            "scene": self.shot.scene,
            "portrait_of": self.shot.portrait_of,
            "cut": self.shot.cut,
            "prompt": self.prompt,
            "seed": self.seed,
            "num_frames": self.num_frames,
            "mode": self.mode,
            "memory": None if self.memory is None else [_plain(seen) for seen in self.memory],
            "decided_after": self.decided_after,
            "status": self.status,
            "reason": self.reason,
            "key": self.key,
            "chosen": None if self.take is None else self.take.key,
            "takes": [{"key": kept.key, "seed": kept.seed, "score": kept.score} for kept in self.kept],
            "wanted_takes": self.wanted,
            "lacking_takes": self.lacking,
        }


def _plain(seen: SeenKeyframe) -> dict[str, str]:
    return {"id": seen.id, "label": seen.label, "picture": seen.picture}


def recipe_of(film: Film, shot: Shot, sight: Sight, *, seed: int | None = None) -> Recipe:
    """What decides the take that a shot should have; or another of its takes, which has this seed."""
    manifest = film.manifest
    settings, tools = manifest.settings, manifest.tools
    sampling = replace(settings.sampling, num_frames=shot.frames(settings.sampling))
    if shot.portrait_of is not None:
        choosing = portraits.choosing(tools.encoder)
    else:
        choosing = Recipe.choosing_of(
            settings.memory, encoder=tools.encoder, scorer=tools.scorer, quality_threshold=tools.quality_threshold
        )
    return Recipe(
        prompt=manifest.prompt_of(shot.id)[1],
        negative_prompt=_negative_prompt(film, shot),
        seed=manifest.seed_of(shot.id) if seed is None else seed,
        sampling=Recipe.sampling_of(sampling),
        model=tools.model,
        memory=sight.bank.ids,
        known_frames=frame_id(sight.known_frames) if len(sight.known_frames) else None,
        choosing=choosing,
    )


def _negative_prompt(film: Film, shot: Shot) -> str:
    own = shot.negative_prompt
    return film.manifest.settings.negative_prompt if own is None else own


def plan_shot(film: Film, walk: Walk, shot: Shot, *, verify: bool = False) -> tuple[PlannedShot, Sight | None]:
    """Plan one shot; the caller then leaves it on the walk with the take that it settles for.

    Args:
        film: the film.
        walk: has left all shots before.
        shot: the shot.
        verify: read every byte of its take.
    """
    sight = walk.enter(shot)
    recipe = None if sight is None else recipe_of(film, shot, sight)
    chosen = film.manifest.chosen.get(shot.id)
    wanted, lacking = _takes_to_make(film, shot, recipe)
    again = film.manifest.pick(shot.id).why_again(wanted, film.manifest.settings.critic)
    status: Status
    try:
        take = film.chosen_take(shot.id, verify=verify)
        if chosen is None and recipe is not None and wanted == 1:  # finished, but killed before film.json said so
            take = film.takes.find(shot.id, recipe.key, verify=verify)
    except FilmDamagedError as error:
        take, status, reason = None, "damaged", str(error)
    else:
        if take is None:
            status = "missing" if chosen is None else "damaged"
            reason = "" if chosen is None else f"the folder of its take {chosen[:16]} is gone"
            if chosen is None and not lacking:
                reason = f"its {wanted} takes are there, and one is yet to be chosen"
        elif walk.unfit is not None:
            status, reason = "stale", f"continues shot {walk.unfit}, whose take has another size than the film"
        elif recipe is None:
            status, reason = "done", f"is looked at again when shot {walk.decided_after} is made"
        elif take.key == recipe.key:
            status, reason = "stale" if again else "done", again
        else:
            status, reason = "stale", _why(take, recipe, sight)
    prompt, full_prompt = film.manifest.prompt_of(shot.id)
    sampling = film.manifest.settings.sampling
    mode: Mode = "m2v" if shot.cut else film.manifest.settings.continue_with
    planned = PlannedShot(
        shot=shot,
        prompt=prompt,
        full_prompt=full_prompt,
        negative_prompt=_negative_prompt(film, shot),
        seed=film.manifest.seed_of(shot.id),
        num_frames=shot.frames(sampling),
        mode=mode if sight is None else sight.mode,
        memory=None if sight is None else sight.seen,
        decided_after=walk.decided_after if sight is None else None,
        status=status,
        reason=reason,
        key=None if recipe is None else recipe.key,
        take=take,
        kept=film.manifest.kept.get(shot.id, ()),
        wanted=wanted,
        lacking=lacking,
    )
    if status == "damaged":
        alone = chosen is not None and chosen == planned.key and not again
        # What was chosen is made again, and nothing is chosen anew.
        planned = replace(planned, wanted=1, lacking=1) if alone else replace(planned, lacking=max(lacking, 1))
    return planned, sight


def _takes_to_make(film: Film, shot: Shot, recipe: Recipe | None) -> tuple[int, int]:
    """How many takes of a shot there are to be to choose from, and how many of them are not there."""
    seeds = film.manifest.seeds_of(shot.id)
    if recipe is None:
        return len(seeds), len(seeds)
    folders = (film.takes.folder_of(shot.id, replace(recipe, seed=seed).key) for seed in seeds)
    return len(seeds), sum(not folder.is_dir() for folder in folders)


def plan_film(film: Film, *, verify: bool = False) -> tuple[PlannedShot, ...]:
    """Every portrait and shot of a film, in order. Nothing is changed on the disk, and no lock is needed.

    A stale shot stays as it is in what is planned after it: its take is in the film until it is remade.

    Args:
        film: the film.
        verify: read every byte of every take, not only the records and sizes.

    Raises:
        FilmError: a shot is too short to continue the one before.
        FilmDamagedError: the reference images are not as they were written.
    """
    walk = Walk(film)
    plan = []
    for shot in film.manifest.all_shots:
        planned, _ = plan_shot(film, walk, shot, verify=verify)
        try:
            walk.leave(shot, planned.take)
        except FilmDamagedError as error:
            planned = replace(planned, take=None, status="damaged", reason=str(error), wanted=1, lacking=1)
            walk.leave(shot, None)
        plan.append(planned)
    return tuple(plan)


def _why(take: Take, recipe: Recipe, sight: Sight | None) -> str:
    """Why a take is stale: all that differs between what it was made from and what it would be made from now."""
    assert sight is not None
    before = take.record.recipe
    reasons = []
    if before.prompt != recipe.prompt:
        reasons.append("prompt changed")
    if before.negative_prompt != recipe.negative_prompt:
        reasons.append("negative prompt changed")
    if before.seed != recipe.seed:
        reasons.append("seed changed")
    if before.model != recipe.model:
        reasons.append("model changed")
    if names := _changed(before.sampling, recipe.sampling):
        reasons.append(f"settings changed: {', '.join(names)}")
    if names := _changed(before.choosing, recipe.choosing):
        reasons.append(f"choice of keyframes changed: {', '.join(names)}")
    if before.memory != recipe.memory:
        reasons.append(_memory_change({seen.id: seen.label for seen in take.record.saw}, sight))
    if before.known_frames != recipe.known_frames:
        if recipe.known_frames is None:
            reasons.append("begins with a cut now")
        elif before.known_frames is None:
            reasons.append("continues the shot before now")
        else:
            reasons.append(f"last frames of shot {sight.continues} changed")
    return "; ".join(reasons)


def _changed(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _memory_change(before: Mapping[str, str], sight: Sight) -> str:
    now = {seen.id: seen.label for seen in sight.seen}
    labels = [before.get(id_) or now[id_] for id_ in [*before, *now] if (id_ in before) != (id_ in now)]
    # "shot 01-02, frame 12" is a keyframe of shot 01-02; a reference image is its own source.
    sources = dict.fromkeys(label.split(", frame ")[0] for label in labels)
    return f"memory changed: keyframes of {', '.join(sources)}" if sources else "memory changed: order of the keyframes"
