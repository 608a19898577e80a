"""The director: makes the shots of a film, one after another, and tells what happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter

from storymem.errors import FilmError, SettingsError
from storymem.film.events import (
    Event,
    FilmFinished,
    FilmPlanned,
    ShotReused,
    ShotStale,
)
from storymem.film.making import OnStepDone, TakeMaker
from storymem.film.override import Override
from storymem.film.pace import Pace
from storymem.film.picks import shot_seed
from storymem.film.plan import PlannedShot, plan_film, plan_shot
from storymem.film.project import Film
from storymem.film.tools import Tools
from storymem.film.walk import Walk
from storymem.settings import check_seed
from storymem.story.model import Shot

__all__ = ["Director", "OnStepDone"]


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
        walk, maker = Walk(film), TakeMaker(film, self._tools, pace, on_step)
        made: list[str] = []
        reused: list[str] = []
        stale: list[str] = []
        for shot in shots:
            planned, sight = plan_shot(film, walk, shot, verify=True)
            take = planned.take
            if planned.status == "damaged":
                yield maker.set_aside(planned)
            if take is not None and planned.status == "stale" and not remake_stale:
                stale.append(shot.id)
                yield ShotStale(shot.id, take.key, planned.reason)
            else:
                if sight is None:
                    raise FilmError(
                        f"Shot {shot.id} continues shot {walk.unfit}, whose take has another size than the film: "
                        "make the stale shots again with --remake."
                    )
                if take is not None and planned.status == "done":
                    film.enter(take)
                    reused.append(shot.id)
                    yield ShotReused(shot.id, take.key)
                else:
                    # One that was chosen and is damaged is made again, and nothing is chosen anew.
                    chosen = film.manifest.chosen.get(shot.id)
                    again = planned.status == "damaged" and planned.wanted == 1 and chosen == planned.key
                    take, is_new = yield from (maker.settle_one if again else maker.settle)(planned, sight)
                    (made if is_new else reused).append(shot.id)
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
        planned = replace(planned, wanted=1, lacking=1)  # whatever number of takes the film has of each shot
        pace = self._pace((planned,), (planned,))
        yield FilmPlanned(
            title=film.manifest.story.title,
            folder=film.folder,
            shots=(planned,),
            to_make=(shot.id,),
            seconds_left=pace.estimate(),
        )
        _, is_new = yield from TakeMaker(film, self._tools, pace, on_step).settle_one(planned, sight)
        made = (shot.id,) if is_new else ()
        reused = () if is_new else (shot.id,)
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
            if seed is None and manifest.pick(shot_id).of > 1:  # another one may be picked for other words
                override = replace(override, seed=manifest.seed_of(shot_id))
        if seed is not None:
            return replace(override, seed=seed)
        if prompt is not None:
            return override
        # Numbers below are, or were, those of takes to choose from.
        number = max(override.retakes + 1, manifest.pick(shot_id).of, manifest.settings.takes)
        there = {take.seed for take in manifest.kept.get(shot_id, ())}
        while (fresh := shot_seed(manifest.settings.seed, shot_id, number)) in there:
            number += 1
        return replace(override, seed=fresh, retakes=number)
