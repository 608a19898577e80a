"""How fast a film is being made, and so how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from storymem.conditioning.layout import num_latent_frames
from storymem.film.events import StepDone
from storymem.film.plan import PlannedShot

__all__ = ["Pace"]

Clock = Callable[[], float]


class Pace:
    """Measures steps, and what comes after the last step of a shot (decoding, keyframes, writing).

    The time of a step is taken to grow with the latent frames of the shot, those of its memory included, and what comes
    after with its frames. The first step of a run has the loading of the model in it, so it counts only until there is
    another.

    Args:
        plan: every shot of the film, with the takes that are there.
        todo: the shots that will be made, in order.
        steps: denoising steps of a shot.
        model: identity of the model; takes of another one say nothing of its pace.
        max_memory: keyframes that a shot sees at most.
        clock: gives seconds.
    """

    def __init__(
        self,
        plan: Sequence[PlannedShot],
        todo: Sequence[PlannedShot],
        *,
        steps: int,
        model: str,
        max_memory: int,
        clock: Clock = perf_counter,
    ) -> None:
        self._clock = clock
        self._steps = steps
        self._max_memory = max_memory
        self._left = [planned for planned in todo for _ in range(planned.lacking)]
        past = [
            float(take.record.made["seconds"]) / (steps_of * self._weight(planned))
            for planned in plan
            if (take := planned.take) is not None
            and take.record.recipe.model == model
            and (steps_of := int(take.record.recipe.sampling["num_inference_steps"] or 0))
        ]
        self._past = sum(past) / len(past) if past else None
        self._measured: list[tuple[float, float]] = []  # seconds and weight of each step of this run
        self._after: list[tuple[float, int]] = []  # seconds after the last step, and frames, of each shot of this run
        self._shot: PlannedShot | None = None
        self._since = 0.0

    def estimate(self) -> float | None:
        """Seconds for all that is left, from earlier takes; None if there are none."""
        return None if self._past is None else self._past * self._steps * sum(map(self._weight, self._left))

    def begin(self, shot: PlannedShot) -> None:
        """A take begins, or begins again; it need not be of a shot that was to be made when the film was planned."""
        if shot is not self._shot:
            ids = [other.shot.id for other in self._left]
            if shot.shot.id in ids:
                del self._left[ids.index(shot.shot.id)]
        self._shot = shot
        self._since = self._clock()

    def step(self, done: int, steps: int) -> StepDone:
        """A step of the shot in hand is done; what is left."""
        shot = self._shot
        assert shot is not None, "begin comes first"
        now = self._clock()
        self._measured.append((now - self._since, self._weight(shot)))
        self._since = now
        rate = self._rate()
        mine = rate * self._weight(shot) * (steps - done) + self._tail(shot)
        others = sum(rate * self._weight(other) * self._steps + self._tail(other) for other in self._left)
        return StepDone(shot.shot.id, done, steps, rate * self._weight(shot), mine, mine + others)

    def end(self) -> None:
        """The take in hand is finished."""
        assert self._shot is not None, "begin comes first"
        self._after.append((self._clock() - self._since, self._shot.num_frames))

    def leave(self, shot_id: str) -> None:
        """A shot is finished, with or without all of its takes made now."""
        self._left = [other for other in self._left if other.shot.id != shot_id]

    def _rate(self) -> float:
        """Seconds per step and latent frame."""
        steps = self._measured[1:] or self._measured
        return sum(seconds for seconds, _ in steps) / sum(weight for _, weight in steps)

    def _tail(self, shot: PlannedShot) -> float:
        """Seconds from the shot's last step until it is finished; 0 while no shot has told."""
        if not self._after:
            return 0.0
        per_frame = sum(seconds for seconds, _ in self._after) / sum(frames for _, frames in self._after)
        return per_frame * shot.num_frames

    def _weight(self, shot: PlannedShot) -> float:
        """Latent frames of the sequence; a memory that is not decided yet is taken for a full one."""
        memory = self._max_memory if shot.memory is None else len(shot.memory)
        return num_latent_frames(shot.num_frames) + memory
