"""What every batch consists of: pure arithmetic on the seed and the number of the step, before any data is touched."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from storymem.errors import SettingsError
from storymem.training.seeding import chances, seed_of

if TYPE_CHECKING:
    from storymem.training.sections import ConditioningSection

__all__ = [
    "MOTION_FRAMES",
    "BatchPlan",
    "GroupTable",
    "MemorySlot",
    "SamplePlan",
    "held_out_plans",
    "plan_batch",
    "plan_memory",
]

MOTION_FRAMES = 5
"""Known frames of MM2V."""
_RUN = 3  # keyframes of one clip that stand together in memory, at most: what a shot adds to a film's bank


@dataclass(frozen=True, slots=True)
class MemorySlot:
    """One memory frame: which clip of the group, which of its keyframes, and which version of it (0 is clean)."""

    clip: int
    keyframe: int
    variant: int


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """One sample.

    Attributes:
        group: number of the group.
        clip: which clip of the group is learned.
        caption: a number in [0, 1) that picks one of its captions; None is the empty prompt.
        num_known: first frames given: 0, 1 or 5.
        memory: the keyframes, oldest first.
        u: uniform in (0, 1), behind the noise level.
        noise_seed: of the noise.
    """

    group: int
    clip: int
    caption: float | None
    num_known: int
    memory: tuple[MemorySlot, ...]
    u: float
    noise_seed: int


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Samples that go through the model together, sorted by `num_known`; all have `num_memory` keyframes."""

    num_memory: int
    samples: tuple[SamplePlan, ...]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """The groups that a step may draw from.

    Attributes:
        groups: their numbers.
        sizes: clips of each.
        keyframes: keyframes of each clip.
        variants: augmented versions of each keyframe, beside the clean one.
        subjects: (number of a group, clip) → for each of its subjects the other clips that show it; None: not known.
        scenes: of each; groups of one scene may be alike. None: no two are of one.
    """

    groups: Sequence[int]
    sizes: Sequence[int]
    keyframes: int
    variants: int
    subjects: Callable[[int, int], Sequence[Sequence[int]]] | None = None
    scenes: Sequence[int] | None = None

    def with_memory(self, num_memory: int, setting: str = "conditioning.max_memory") -> list[int]:
        """Positions of the groups whose other clips have enough keyframes.

        Args:
            num_memory: how many are asked for.
            setting: by which.

        Raises:
            SettingsError: no group has.
        """
        fitting = [i for i, size in enumerate(self.sizes) if (size - 1) * self.keyframes >= num_memory]
        if not fitting:
            most = max((max(size - 1, 0) * self.keyframes for size in self.sizes), default=0)
            raise SettingsError(
                f"no group of related clips has {num_memory} keyframes to give as memory (the largest has {most}): "
                f"lower {setting}, or raise data.keyframes_per_clip or the clips per group."
            )
        return fitting


def plan_memory(
    rng: Random, table: GroupTable, position: int, clip: int, num_memory: int, augment: float
) -> tuple[MemorySlot, ...]:
    """Random keyframes of a group's other clips, among them one of each subject of the clip, if there is room.

    With two heroes a film's memory may show both in one keyframe or each in one of its own, so both are drawn here.
    As in a film's bank, clips stand in a random order and the frames of one clip stand together, 1 to 3 of them, oldest
    first; only when every clip has given so many does one give more.
    """
    size = table.sizes[position]
    subjects = () if table.subjects is None else table.subjects(table.groups[position], clip)
    others = [other for other in range(size) if other != clip]
    rng.shuffle(others)
    leads = _leads(rng, others, subjects, num_memory)
    order = [*leads, *(other for other in others if other not in leads)]
    waiting = len(leads)  # leads that have given nothing yet
    keyframes = range(table.keyframes)
    left: dict[int, list[int]] = {}
    chosen: dict[int, list[int]] = {other: [] for other in others}
    missing = num_memory
    while missing:
        for other in order:
            if not missing:
                break
            if other not in left:
                left[other] = rng.sample(keyframes, table.keyframes)
            waiting = max(0, waiting - 1)
            count = min(rng.randint(1, _RUN), missing - waiting, len(left[other]))
            chosen[other] += [left[other].pop() for _ in range(count)]
            missing -= count
    slots = []
    for other in others:
        for keyframe in sorted(chosen[other]):
            damaged = table.variants > 0 and rng.random() < augment
            slots.append(MemorySlot(other, keyframe, rng.randint(1, table.variants) if damaged else 0))
    return tuple(slots)


def _leads(rng: Random, others: Sequence[int], subjects: Sequence[Sequence[int]], room: int) -> list[int]:
    """Clips that show the subjects together; with less room than subjects one that shows all, else one of the first."""
    wanted = [set(clips) for clips in subjects]
    rng.shuffle(wanted)
    if room < len(wanted):
        wanted = [set.intersection(*wanted) or wanted[0]]
    leads: list[int] = []
    for clips in wanted:
        if clips.isdisjoint(leads):
            leads += [other for other in others if other in clips][:1]
    return leads


def plan_batch(
    seed: int,
    step: int,
    part: int,
    *,
    table: GroupTable,
    config: ConditioningSection,
    batch: int,
    rank: int = 0,
    world_size: int = 1,
    stratified: bool = True,
) -> BatchPlan:
    """The samples of one process in one part of a step.

    The whole part is planned and `rank`'s share of it returned, so what is drawn does not depend on how many share it.

    Args:
        seed: of the run.
        step: number of the optimizer step, from 0.
        part: number of the part of the step (gradient accumulation), from 0.
        table: groups to draw from.
        config: what is given, and how often.
        batch: samples of this part, all processes together.
        rank: of this process.
        world_size: number of processes.
        stratified: see `NoiseSection.stratified`.

    Raises:
        SettingsError: no group has enough keyframes, or the batch cannot be shared out.
    """
    if batch % world_size:
        raise SettingsError(
            f"{batch} clips at a time cannot be shared out among {world_size} processes: make batch_size / accumulate "
            f"a multiple of {world_size}."
        )
    rng = chances(seed, "batch", step, part)
    with_memory = config.max_memory > 0 and rng.random() >= config.drop_memory
    num_memory = rng.randint(1, config.max_memory) if with_memory else 0
    fitting = table.with_memory(num_memory)
    # Every clip is as likely as every other: a group as its number of clips.
    ends = list(accumulate(table.sizes[i] for i in fitting))
    offset = rng.random()
    strata = rng.sample(range(batch), batch)
    samples = []
    for index in range(rank, batch, world_size):
        own = chances(seed, "sample", step, part, index)
        number = own.randrange(ends[-1])
        position = bisect_right(ends, number)
        chosen = fitting[position]
        clip = number - (ends[position - 1] if position else 0)
        kind = own.random()
        known = 1 if kind < config.first_frame else MOTION_FRAMES
        u = (strata[index] + offset) / batch if stratified else own.random()
        samples.append(
            SamplePlan(
                group=table.groups[chosen],
                clip=clip,
                caption=None if own.random() < config.drop_prompt else own.random(),
                num_known=known if kind < config.first_frame + config.motion_frames else 0,
                memory=plan_memory(own, table, chosen, clip, num_memory, config.augment.probability),
                u=min(max(u, 1e-9), 1 - 1e-9),
                noise_seed=seed_of(seed, "noise", step, part, index),
            )
        )
    return BatchPlan(num_memory, tuple(sorted(samples, key=lambda sample: sample.num_known)))


def held_out_plans(table: GroupTable, count: int, num_memory: int, seed: int) -> list[tuple[SamplePlan, SamplePlan]]:
    """Clips of the table's groups with memory of their own group, and the same with memory of another of them.

    The other one is of another scene; where all are of one, it is the same group, and its memory not known to be wrong.
    """
    fitting = table.with_memory(num_memory)
    plans = []
    for number in range(count):
        rng = chances(seed, "held out", number)
        position = fitting[number % len(fitting)]
        other = _stranger(table, fitting, number)
        clip = rng.randrange(table.sizes[position])
        right = SamplePlan(
            group=table.groups[position],
            clip=clip,
            caption=0.0 if number % 2 == 0 else 1 - 1e-9,
            num_known=0,
            memory=plan_memory(rng, table, position, clip, num_memory, 0.0),
            u=0.5,
            noise_seed=seed_of(seed, "held out noise", number),
        )
        stranger = rng.randrange(table.sizes[other])
        wrong = SamplePlan(
            group=table.groups[other],
            clip=stranger,
            caption=right.caption,
            num_known=0,
            memory=plan_memory(rng, table, other, stranger, num_memory, 0.0),
            u=0.5,
            noise_seed=right.noise_seed,
        )
        plans.append((right, wrong))
    return plans


def _stranger(table: GroupTable, fitting: Sequence[int], number: int) -> int:
    """The next position after that of a clip whose group has nothing to do with it; its own if there is none."""
    position, *others = (fitting[(number + i) % len(fitting)] for i in range(len(fitting)))
    scenes = table.scenes
    return next((other for other in others if scenes is None or scenes[other] != scenes[position]), position)
