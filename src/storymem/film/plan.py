"""What a film needs: for every shot its mode, seed and memory, and whether its take in the film is the right one.

A film is a fold over its shots: the memory that a shot sees follows from the keyframes of the chosen takes before it.
`Walk` is that fold. Plan and director take the same walk, so what the plan says is what the director does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from storymem.errors import FilmDamagedError
from storymem.film.maker import MOTION_FRAMES, FloatArray, Mode, no_known_frames
from storymem.film.manifest import KeptTake
from storymem.film.project import Film
from storymem.film.recipe import Recipe
from storymem.film.takes import SeenKeyframe, Take, keyframe_label, preview_name
from storymem.memory.bank import Keyframe, MemoryBank, MemoryPolicy, frame_id
from storymem.story.model import Shot

__all__ = ["PlannedShot", "Sight", "Status", "Walk", "plan_film", "plan_shot"]

Status = Literal["done", "stale", "missing", "damaged"]
"""The take in the film is the one it should be; was made from something that has changed; is not there; is broken."""

_DROP = {"t2v": 0, "m2v": 0, "mi2v": 1, "mm2v": MOTION_FRAMES}


@dataclass(frozen=True, eq=False)
class Sight:
    """What a shot gets from the shots before it.

    Attributes:
        bank: the memory.
        seen: its keyframes, in order, for people and files.
        known_frames: ``[K, 3, H, W]``, the frames the shot begins with.
        continues: the shot that they come from; None after a cut.
    """

    bank: MemoryBank
    seen: tuple[SeenKeyframe, ...]
    known_frames: FloatArray = field(default_factory=no_known_frames)
    continues: str | None = None

    @property
    def mode(self) -> Mode:
        """What the shot is conditioned on."""
        if len(self.known_frames):
            return "mi2v" if len(self.known_frames) == 1 else "mm2v"
        return "m2v" if len(self.bank) else "t2v"


@dataclass(frozen=True, slots=True)
class PlannedShot:
    """One shot of the plan.

    Attributes:
        shot: as in the script.
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
            "takes": [{"key": kept.key, "seed": kept.seed} for kept in self.kept],
        }


def _plain(seen: SeenKeyframe) -> dict[str, str]:
    return {"id": seen.id, "label": seen.label, "picture": seen.picture}


class Walk:
    """The way through a film's shots, in order: `enter` a shot, then `leave` it with its take.

    Raises:
        FilmError: a shot is too short to continue the one before.
        FilmDamagedError: the reference images are not as they were written.
    """

    def __init__(self, film: Film) -> None:
        film.manifest.check_lengths()
        self._film = film
        self._policy: MemoryPolicy = film.policy
        references = film.reference_keyframes()
        self._start = self._policy.start(references)
        self._bank: MemoryBank | None = self._start
        self._pictures: dict[str, str] = {}
        for number, keyframe in enumerate(references):
            assert film.manifest.references is not None
            self._pictures[keyframe.id] = film.references.picture(film.manifest.references, number)
        self._last_shot: Shot | None = None
        self._last_frames: FloatArray | None = None
        self.decided_after: str | None = None
        """The latest shot whose missing take keeps the memory of the next from being decided."""
        self.unfit: str | None = None
        """The shot before, if the shot entered last continues it and its take has another size than the film."""

    def enter(self, shot: Shot) -> Sight | None:
        """What this shot sees; None while a shot that it depends on has no take, or one of another size."""
        self.unfit = None
        if shot.forget:
            self._forget()
        if self._bank is None:
            return None
        if shot.cut or self._last_shot is None:
            known, continues = no_known_frames(), None
        elif self._last_frames is None:
            return None
        else:
            fitting = self._fitting(shot, self._last_frames)
            if fitting is None:
                self.unfit = self.decided_after = self._last_shot.id
                return None
            known, continues = fitting, self._last_shot.id
        keyframes = self._policy.view(self._bank, shot.index)
        seen = tuple(SeenKeyframe(k.id, _label(k), self._pictures[k.id]) for k in keyframes)
        return Sight(MemoryBank(keyframes), seen, known, continues)

    def leave(self, shot: Shot, take: Take | None) -> None:
        """Go on with what this take adds to the memory; None: the shot has none yet.

        Raises:
            FilmDamagedError: keyframes or last frames cannot be read; the walk is where it was.
        """
        if take is not None:
            keyframes = take.keyframes(shot.index)
            count = MOTION_FRAMES if self._film.manifest.settings.continue_with == "mm2v" else 1
            last_frames = take.last_frames(count) if self._is_continued(shot) else None
            self._last_shot, self._last_frames = shot, last_frames
            for number, keyframe in enumerate(keyframes):
                path = take.folder / preview_name(number)
                self._pictures.setdefault(keyframe.id, path.relative_to(self._film.folder).as_posix())
            if self._bank is not None:
                self._bank = self._policy.update(self._bank, keyframes)
            return
        self._last_shot, self._last_frames = shot, None
        self.decided_after = shot.id
        if self._policy.capacity:
            self._bank = None

    def _is_continued(self, shot: Shot) -> bool:
        shots = self._film.manifest.story.shots
        return shot.index + 1 < len(shots) and not shots[shot.index + 1].cut

    def _forget(self) -> None:
        if self._bank is not None:
            self._bank = self._policy.forget(self._bank)
        elif not self._policy.pinned and len(self._start) <= self._policy.sink:
            # Whatever the shots before are: the references stay in the sink, and nothing else is left.
            self._bank = self._start

    def _fitting(self, shot: Shot, frames: FloatArray) -> FloatArray | None:
        """The last frames of the shot before, as many as this shot begins with; None if they have another size."""
        sampling = self._film.manifest.settings.sampling
        if frames.shape[2:] != (sampling.height, sampling.width):
            return None
        # A shot of one frame has no motion to go on with; a stale take may be longer than its shot is now.
        if len(frames) < MOTION_FRAMES or shot.frames(sampling) <= MOTION_FRAMES:
            return frames[-1:]
        return frames


def _label(keyframe: Keyframe) -> str:
    if keyframe.shot_id is None or keyframe.frame_index is None:
        return keyframe.label
    return keyframe_label(keyframe.shot_id, keyframe.frame_index)


def recipe_of(film: Film, shot: Shot, sight: Sight) -> Recipe:
    """What decides the take that a shot should have."""
    manifest = film.manifest
    settings, tools = manifest.settings, manifest.tools
    sampling = replace(settings.sampling, num_frames=shot.frames(settings.sampling))
    return Recipe(
        prompt=film.prompt_of(shot.id)[1],
        negative_prompt=_negative_prompt(film, shot),
        seed=film.seed_of(shot.id),
        sampling=Recipe.sampling_of(sampling),
        model=tools.model,
        memory=sight.bank.ids,
        known_frames=frame_id(sight.known_frames) if len(sight.known_frames) else None,
        choosing=Recipe.choosing_of(
            settings.memory, encoder=tools.encoder, scorer=tools.scorer, quality_threshold=tools.quality_threshold
        ),
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
    status: Status
    try:
        take = film.chosen_take(shot.id, verify=verify)
        if chosen is None and recipe is not None:  # finished, but killed before film.json said so
            take = film.takes.find(shot.id, recipe.key, verify=verify)
    except FilmDamagedError as error:
        take, status, reason = None, "damaged", str(error)
    else:
        if take is None:
            status = "missing" if chosen is None else "damaged"
            reason = "" if chosen is None else f"the folder of its take {chosen[:16]} is gone"
        elif walk.unfit is not None:
            status, reason = "stale", f"continues shot {walk.unfit}, whose take has another size than the film"
        elif recipe is None:
            status, reason = "done", f"is looked at again when shot {walk.decided_after} is made"
        elif take.key == recipe.key:
            status, reason = "done", ""
        else:
            status, reason = "stale", _why(take, recipe, sight)
    prompt, full_prompt = film.prompt_of(shot.id)
    sampling = film.manifest.settings.sampling
    mode: Mode = "m2v" if shot.cut else film.manifest.settings.continue_with
    planned = PlannedShot(
        shot=shot,
        prompt=prompt,
        full_prompt=full_prompt,
        negative_prompt=_negative_prompt(film, shot),
        seed=film.seed_of(shot.id),
        num_frames=shot.frames(sampling),
        mode=mode if sight is None else sight.mode,
        memory=None if sight is None else sight.seen,
        decided_after=walk.decided_after if sight is None else None,
        status=status,
        reason=reason,
        key=None if recipe is None else recipe.key,
        take=take,
        kept=film.manifest.kept.get(shot.id, ()),
    )
    return planned, sight


def plan_film(film: Film, *, verify: bool = False) -> tuple[PlannedShot, ...]:
    """Every shot of a film, in order. Nothing is changed on the disk, and no lock is needed.

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
    for shot in film.manifest.story.shots:
        planned, _ = plan_shot(film, walk, shot, verify=verify)
        try:
            walk.leave(shot, planned.take)
        except FilmDamagedError as error:
            planned = replace(planned, take=None, status="damaged", reason=str(error))
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
