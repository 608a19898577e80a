"""The director: makes the shots of a film, one after another, and tells what happens."""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import numpy as np

from storymem.errors import FilmDamagedError, FilmError, ModelError, SettingsError
from storymem.film.events import (
    Event,
    FilmFinished,
    FilmPlanned,
    KeyframesChosen,
    ShotFinished,
    ShotReused,
    ShotStale,
    ShotStarted,
    StepDone,
    TakeDamaged,
)
from storymem.film.maker import FloatArray, ShotRequest
from storymem.film.manifest import shot_seed
from storymem.film.override import Override
from storymem.film.pace import Pace
from storymem.film.plan import PlannedShot, plan_film, plan_shot, recipe_of
from storymem.film.portraits import label_of, portrait_keyframe
from storymem.film.project import Film
from storymem.film.sealed import set_aside
from storymem.film.takes import SeenKeyframe, Take, preview_name
from storymem.film.tools import Tools
from storymem.film.walk import Sight, Walk
from storymem.memory.bank import Keyframe
from storymem.memory.keyframes import choose_keyframes
from storymem.settings import check_seed
from storymem.story.model import Shot

__all__ = ["Director", "OnStepDone"]

OnStepDone = Callable[[StepDone], None]
"""Takes the events that happen while the model works; see `storymem.film.events`."""


class Director:
    """Makes the shots of a film.

    Args:
        film: open to work in, from `Film.begin` or `Film.work`.
        tools: what the film is made with.

    Raises:
        FilmError: the film was made with other tools.
    """

    def __init__(self, film: Film, tools: Tools) -> None:
        facts = tools.facts(film.manifest.settings.memory)
        if differences := film.manifest.differences(film.manifest.settings, facts):
            raise FilmError(
                f"{film.folder}: this film is made with {'; '.join(differences)}: use what it was made with, or run "
                "`storymem generate` with --remake to make it again."
            )
        self._film = film
        self._tools = tools

    def generate(
        self, *, remake_stale: bool = False, until: str | None = None, on_step: OnStepDone | None = None
    ) -> Iterator[Event]:
        """Make every shot that the film lacks. What is finished is used, so running it again goes on where it ended.

        A stale shot (its take was made from something that has changed since) is told of and stays in the film, unless
        `remake_stale`. Later shots see the keyframes of the take that is in the film, stale or not: what is in the film
        is what it remembers.

        Args:
            remake_stale: make stale shots again; the old takes are kept beside the new.
            until: the shot to stop after; or ``portraits``, to make those alone; None makes the whole film.
            on_step: gets the steps while the model works.

        Yields:
            What happens. Ending the loop early is safe: only the shot in hand is lost.

        Raises:
            StorageError: the system refused a write; nothing finished is lost.
            ModelError: the model gave something that is no picture, or what chooses keyframes cannot be read.
            FilmError: a shot continues one that is stale and of another size, or is too short to continue anything; or
                there is no such shot to stop after.
        """
        begun = perf_counter()
        film = self._film
        shots = film.manifest.shots_until(until)
        wanted = {shot.id for shot in shots}
        plan = plan_film(film, verify=True)
        todo = [p for p in plan if p.shot.id in wanted and (p.take is None or (remake_stale and p.status == "stale"))]
        pace = self._pace(plan, todo)
        yield FilmPlanned(
            title=film.manifest.story.title,
            folder=film.folder,
            shots=plan,
            to_make=tuple(planned.shot.id for planned in todo),
            seconds_left=pace.estimate(),
        )
        if todo:
            self._tools.ready()
        walk = Walk(film)
        made, reused, stale = [], [], []
        for shot in shots:
            planned, sight = plan_shot(film, walk, shot, verify=True)
            take = planned.take
            if planned.status == "damaged":
                yield self._set_aside(planned)
            if take is not None and planned.status == "stale" and not remake_stale:
                stale.append(shot.id)
                yield ShotStale(shot.id, take.key, planned.reason)
            else:
                if sight is None:
                    raise FilmError(
                        f"Shot {shot.id} continues shot {walk.unfit}, whose take has another size than the film: "
                        "make the stale shots again with --remake."
                    )
                if planned.status != "done":
                    take = yield from self._kept(planned)
                if take is not None:
                    film.enter(take)
                    reused.append(shot.id)
                    yield ShotReused(shot.id, take.key)
                else:
                    take = yield from self._make(planned, sight, pace, on_step)
                    made.append(shot.id)
            walk.leave(shot, take)
        film.save(film.manifest)  # with new settings and nothing to make, they are noted now
        yield FilmFinished(film.folder, tuple(made), tuple(reused), tuple(stale), perf_counter() - begun)

    def retake(
        self, shot_id: str, *, seed: int | None = None, prompt: str | None = None, on_step: OnStepDone | None = None
    ) -> Iterator[Event]:
        """Make another take of a shot and put it into the film; the old one is kept beside it.

        With neither seed nor prompt the shot gets its next seed, which follows from the film's. With a prompt alone it
        keeps its seed, so that nothing changes but the words. Shots that saw what has changed are told of as stale.

        Nothing is noted in `film.json` before the take is finished: after a kill the same command makes the same take.

        Args:
            shot_id: the shot.
            seed: of the new take.
            prompt: of the new take, as one writes it in a script: the cast is woven in.
            on_step: gets the steps while the model works.

        Yields:
            What happens.

        Raises:
            FilmError: there is no such shot, or shots before it are not made yet.
            SettingsError: no such seed can be, or the prompt says nothing.
            StorageError: the system refused a write; nothing finished is lost.
            ModelError: the model gave something that is no picture.
        """
        before = self._film.manifest
        shot = before.shot(shot_id)
        override = self._next_override(shot_id, seed, prompt)
        # The film as it will be; it is saved together with the finished take.
        self._film.manifest = unsaved = replace(before, overrides={**before.overrides, shot_id: override})
        try:
            yield from self._retake(shot, on_step)
        finally:
            if self._film.manifest is unsaved:
                self._film.manifest = before

    def _retake(self, shot: Shot, on_step: OnStepDone | None) -> Iterator[Event]:
        begun = perf_counter()
        self._tools.ready()
        film = self._film
        walk = Walk(film)
        for earlier in film.manifest.shots_until(shot.id)[:-1]:
            planned, _ = plan_shot(film, walk, earlier, verify=True)
            walk.leave(earlier, planned.take)
        planned, sight = plan_shot(film, walk, shot)
        if sight is None:
            how = " with --remake" if walk.unfit is not None else ""
            raise FilmError(
                f"Shot {shot.id} cannot be retaken before shot {walk.decided_after} is made: "
                f"run `storymem generate`{how} first."
            )
        pace = self._pace((planned,), (planned,))
        yield FilmPlanned(
            title=film.manifest.story.title,
            folder=film.folder,
            shots=(planned,),
            to_make=(shot.id,),
            seconds_left=pace.estimate(),
        )
        take = yield from self._kept(planned)
        made: tuple[str, ...] = ()
        reused: tuple[str, ...] = ()
        if take is None:
            yield from self._make(planned, sight, pace, on_step)
            made = (shot.id,)
        else:
            film.enter(take)
            reused = (shot.id,)
            yield ShotReused(shot.id, take.key)
        stale = []
        for later in plan_film(film):
            if later.status == "stale" and later.take is not None:
                stale.append(later.shot.id)
                yield ShotStale(later.shot.id, later.take.key, later.reason)
        yield FilmFinished(film.folder, made, reused, tuple(stale), perf_counter() - begun)

    def _pace(self, plan: Sequence[PlannedShot], todo: Sequence[PlannedShot]) -> Pace:
        manifest = self._film.manifest
        return Pace(
            plan,
            todo,
            steps=manifest.settings.sampling.num_inference_steps,
            model=manifest.tools.model,
            max_memory=manifest.most_seen,
        )

    def _next_override(self, shot_id: str, seed: int | None, prompt: str | None) -> Override:
        manifest = self._film.manifest
        override = manifest.override(shot_id)
        if seed is not None:
            check_seed(seed)
        if prompt is not None:
            if not any(character.isalnum() for character in prompt):
                raise SettingsError(f"The prompt is {prompt!r}; it must say what is to be seen.")
            told = manifest.shot(shot_id).prompt
            override = replace(override, prompt=None if prompt == told else prompt, over=None).of(told)
        if seed is not None:
            return replace(override, seed=seed)
        if prompt is not None:
            return override
        number = override.retakes + 1
        return replace(override, seed=shot_seed(manifest.settings.seed, shot_id, number), retakes=number)

    def _set_aside(self, planned: PlannedShot) -> TakeDamaged:
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
        self, planned: PlannedShot, sight: Sight, pace: Pace, on_step: OnStepDone | None
    ) -> Generator[Event, None, Take]:
        """Make a take, write it and put it into the film."""
        film, shot = self._film, planned.shot
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
        )
        request = ShotRequest(
            prompt=planned.full_prompt,
            negative_prompt=planned.negative_prompt,
            seed=planned.seed,
            sampling=sampling,
            memory=sight.bank.frames,
            known_frames=sight.known_frames,
        )
        begun = working = perf_counter()
        pace.begin(planned)

        def step(done: int, steps: int) -> None:
            nonlocal working
            if not done:  # what loading took says nothing of the shots to come
                working = perf_counter()
                pace.begin(planned)
                return
            event = pace.step(done, steps)
            if on_step is not None:
                on_step(event)

        frames = _checked(self._tools.maker.make(request, step), request, shot.id)
        making = perf_counter() - working
        keyframes = self._keyframes(frames, shot, sight)
        choosing = perf_counter() - working - making
        take = film.takes.write(
            recipe_of(film, shot, sight),
            shot_id=shot.id,
            prompt=planned.prompt,
            mode=request.mode,
            frames=frames,
            keyframes=keyframes,
            saw=sight.seen,
            continues=sight.continues,
            made=self._made(making, choosing, sampling.num_inference_steps, batch_cfg=sampling.batch_cfg),
        )
        folder = take.folder.relative_to(film.folder).as_posix()
        yield KeyframesChosen(
            shot.id,
            tuple(
                SeenKeyframe(k.id, label_of(shot, k.frame_index), f"{folder}/{preview_name(number)}")
                for number, k in enumerate(take.record.keyframes)
            ),
        )
        film.enter(take)
        pace.end()
        yield ShotFinished(shot.id, take.key, perf_counter() - begun)
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
