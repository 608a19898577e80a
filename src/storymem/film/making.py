"""How a shot comes to its take: one is made, or several, of which the critic puts one into the film."""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import numpy as np

from storymem.errors import FilmDamagedError, ModelError
from storymem.film.events import (
    Event,
    KeyframesChosen,
    ShotFinished,
    ShotReused,
    ShotStarted,
    StepDone,
    TakeChosen,
    TakeDamaged,
    TakeFinished,
)
from storymem.film.maker import FloatArray, ShotRequest
from storymem.film.manifest import KeptTake
from storymem.film.pace import Pace
from storymem.film.picks import Pick
from storymem.film.plan import PlannedShot, recipe_of
from storymem.film.portraits import label_of, portrait_keyframe
from storymem.film.project import Film
from storymem.film.sealed import set_aside
from storymem.film.takes import SeenKeyframe, Take, preview_name
from storymem.film.tools import Tools
from storymem.film.walk import Sight
from storymem.media import from_uint8, read_video
from storymem.memory.bank import Keyframe
from storymem.memory.keyframes import choose_keyframes
from storymem.story.model import Shot

__all__ = ["OnStepDone", "TakeMaker"]

OnStepDone = Callable[[StepDone], None]
"""Takes the events that happen while the model works; see `storymem.film.events`."""


class TakeMaker:
    """Makes the takes of a film's shots, or finds them where they are made already, and puts them into the film.

    Args:
        film: open to work in.
        tools: what the film is made with.
        pace: of the run.
        on_step: gets the steps while the model works.
    """

    def __init__(self, film: Film, tools: Tools, pace: Pace, on_step: OnStepDone | None = None) -> None:
        self._film = film
        self._tools = tools
        self._pace = pace
        self._on_step = on_step

    def settle(self, planned: PlannedShot, sight: Sight) -> Generator[Event, None, tuple[Take, bool]]:
        """Every take that a shot is to have, and the best of them in the film.

        Takes that are there already are not made again. Which is best is decided by what is on the disk, so that a
        film that was stopped between two takes comes out as one that was not.

        Args:
            planned: the shot.
            sight: what it sees.

        Returns:
            The take in the film, and whether any was made now.
        """
        film, shot_id = self._film, planned.shot.id
        begun, manifest = perf_counter(), film.manifest
        seeds = manifest.seeds_of(shot_id)
        if len(seeds) == 1:
            fixed = manifest.is_decided(shot_id)
            one = replace(planned, seed=seeds[0], key=recipe_of(film, planned.shot, sight, seed=seeds[0]).key)
            return (yield from self.settle_one(one, sight, pick=None if fixed else Pick()))
        takes, made = [], False
        for number, seed in enumerate(seeds, 1):
            one = replace(planned, seed=seed, key=recipe_of(film, planned.shot, sight, seed=seed).key)
            started = perf_counter()
            found = yield from self._kept(one)
            take = found or (yield from self._make(one, sight, number=number, of=len(seeds)))
            film.keep(take)
            takes.append(take)
            if found is None:
                made = True
                yield TakeFinished(shot_id, take.key, number, len(seeds), perf_counter() - started)
        self._pace.leave(shot_id)
        scores = self._scores(planned, sight, takes)
        best = scores.index(max(scores)) if scores else 0  # of equals, and without a critic, the first
        chosen = takes[best]
        yield TakeChosen(shot_id, chosen.key, best + 1, len(takes), scores)
        kept = [
            KeptTake(take.key, take.record.recipe.seed, scores[at] if scores else None) for at, take in enumerate(takes)
        ]
        pick = Pick(best, len(takes), manifest.settings.critic)
        yield from self._enter(planned, chosen, begun if made else None, pick=pick, beside=kept)
        return chosen, made

    def settle_one(
        self, planned: PlannedShot, sight: Sight, *, pick: Pick | None = None
    ) -> Generator[Event, None, tuple[Take, bool]]:
        """The one take of the seed that is planned, in the film, whatever number of takes the film has of other shots.

        Args:
            planned: the shot.
            sight: what it sees.
            pick: what is noted of the choice; None leaves that as it is.

        Returns:
            The take, and whether it was made now.
        """
        begun = perf_counter()
        take = yield from self._kept(planned)
        made = take is None
        if take is None:
            take = yield from self._make(planned, sight)
        self._pace.leave(planned.shot.id)
        yield from self._enter(planned, take, begun if made else None, pick=pick)
        return take, made

    def _scores(self, planned: PlannedShot, sight: Sight, takes: Sequence[Take]) -> tuple[float, ...]:
        """What the critic says of each; nothing without one."""
        critic, shot = self._tools.critic, planned.shot
        if critic is None:
            return ()
        told = self._film.manifest.characters_of(shot.id) or None  # if nobody, "she" may be anybody
        characters = told if shot.shows is None else shot.shows
        scores = tuple(
            critic.score(
                from_uint8(np.stack(list(read_video(take.master)))),
                prompt=planned.full_prompt,
                characters=characters,
                pictures=sight.bank.frames,
            )
            for take in takes
        )
        if not np.isfinite(scores).all():
            raise ModelError(
                f"Shot {shot.id}: the critic gave {', '.join(f'{score:g}' for score in scores)} for its takes, and "
                "those are not all numbers. All takes are kept: go on with --critic none --remake, and choose by hand."
            )
        return scores

    def _enter(
        self,
        planned: PlannedShot,
        take: Take,
        begun: float | None,
        *,
        pick: Pick | None = None,
        beside: Sequence[KeptTake] = (),
    ) -> Generator[Event, None, None]:
        """Put a take into the film and tell of it.

        Args:
            planned: the shot.
            take: of it.
            begun: when work on it began; None if nothing was made.
            pick: as of `Film.enter`.
            beside: likewise.
        """
        film, shot_id = self._film, planned.shot.id
        if begun is not None:
            folder = take.folder.relative_to(film.folder).as_posix()
            yield KeyframesChosen(
                shot_id,
                tuple(
                    SeenKeyframe(k.id, label_of(planned.shot, k.frame_index), f"{folder}/{preview_name(number)}")
                    for number, k in enumerate(take.record.keyframes)
                ),
            )
        film.enter(take, pick=pick, beside=beside)
        if begun is None:
            yield ShotReused(shot_id, take.key)
        else:
            yield ShotFinished(shot_id, take.key, perf_counter() - begun)

    def set_aside(self, planned: PlannedShot) -> TakeDamaged:
        """Put away the damaged take that is in the film."""
        film, shot_id = self._film, planned.shot.id
        key = film.manifest.chosen.get(shot_id) or planned.key
        assert key is not None
        folder = film.takes.folder_of(shot_id, key)
        aside = set_aside(folder) if folder.exists() else None
        return TakeDamaged(shot_id, key, planned.reason, aside)

    def _kept(self, planned: PlannedShot) -> Generator[Event, None, Take | None]:
        """A whole take of the right key that is there already."""
        assert planned.key is not None
        takes, shot_id = self._film.takes, planned.shot.id
        try:
            return takes.find(shot_id, planned.key, verify=True)
        except FilmDamagedError as error:
            aside = set_aside(takes.folder_of(shot_id, planned.key))
            yield TakeDamaged(shot_id, planned.key, str(error), aside)
            return None

    def _make(
        self, planned: PlannedShot, sight: Sight, *, number: int = 1, of: int = 1
    ) -> Generator[Event, None, Take]:
        """Make a take and write it. It is not in the film then.

        Args:
            planned: the shot, with the seed of this take.
            sight: what it sees.
            number: which of the takes that are made this is, from 1.
            of: how many those are.
        """
        film, shot, pace = self._film, planned.shot, self._pace
        sampling = replace(film.manifest.settings.sampling, num_frames=planned.num_frames)
        yield ShotStarted(
            shot_id=shot.id,
            index=shot.index,
            mode=sight.mode,
            seed=planned.seed,
            num_frames=planned.num_frames,
            steps=sampling.num_inference_steps,
            memory=sight.seen,
            continues=sight.continues,
            reason=planned.reason or planned.status,
            take=number,
            takes=of,
        )
        request = ShotRequest(
            prompt=planned.full_prompt,
            negative_prompt=planned.negative_prompt,
            seed=planned.seed,
            sampling=sampling,
            memory=sight.bank.frames,
            known_frames=sight.known_frames,
        )
        working = perf_counter()
        pace.begin(planned)

        def step(done: int, steps: int) -> None:
            nonlocal working
            if not done:  # what loading took says nothing of the shots to come
                working = perf_counter()
                pace.begin(planned)
                return
            event = pace.step(done, steps)
            if self._on_step is not None:
                self._on_step(event)

        frames = _checked(self._tools.maker.make(request, step), request, shot.id)
        making = perf_counter() - working
        keyframes = self._keyframes(frames, shot, sight)
        choosing = perf_counter() - working - making
        take = film.takes.write(
            recipe_of(film, shot, sight, seed=planned.seed),
            shot_id=shot.id,
            prompt=planned.prompt,
            mode=request.mode,
            frames=frames,
            keyframes=keyframes,
            saw=sight.seen,
            continues=sight.continues,
            made=self._made(making, choosing, sampling.num_inference_steps, batch_cfg=sampling.batch_cfg),
        )
        pace.end()
        return take

    def _keyframes(self, frames: FloatArray, shot: Shot, sight: Sight) -> tuple[Keyframe, ...]:
        """What the memory keeps of these frames."""
        if shot.portrait_of is not None:
            return (portrait_keyframe(frames, encoder=self._tools.encoder, shot=shot),)
        return choose_keyframes(
            frames,
            encoder=self._tools.encoder,
            scorer=self._tools.scorer,
            config=self._film.manifest.settings.memory,
            bank=sight.bank,
            shot_id=shot.id,
            shot_index=shot.index,
        )

    def _made(self, making: float, choosing: float, steps: int, *, batch_cfg: bool) -> dict[str, Any]:
        """When and how: for people and for estimates; nothing depends on it."""
        from importlib.metadata import version

        return {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(making, 3),
            "seconds_per_step": round(making / steps, 4),
            "seconds_for_keyframes": round(choosing, 3),
            "batch_cfg": batch_cfg,
            "model": dict(self._tools.maker.description),
            "storymem": version("storymem"),
            "python": platform.python_version(),
            "machine": platform.machine(),
        }


def _checked(frames: FloatArray, request: ShotRequest, shot_id: str) -> FloatArray:
    """The frames, if they are a shot: a film must not remember what is none."""
    sampling = request.sampling
    shape = (sampling.num_frames, 3, sampling.height, sampling.width)
    if frames.shape != shape or frames.dtype != np.float32:
        raise ModelError(
            f"Shot {shot_id}: the model gave frames of {frames.dtype} {list(frames.shape)} in place of float32 "
            f"{list(shape)}: it does not fit these settings."
        )
    if not np.isfinite(frames).all():
        raise ModelError(
            f"Shot {shot_id}: the model gave values that are no numbers, so it overflowed: "
            "run it in bfloat16 or float32."
        )
    return frames
