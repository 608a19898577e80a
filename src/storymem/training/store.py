"""From a plan to tensors: groups that are held in memory or read when needed, and batches of them."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from storymem.errors import SettingsError
from storymem.training.encode import EncodedClip
from storymem.training.plan import BatchPlan, GroupTable, SamplePlan
from storymem.training.pool import ClipPool
from storymem.training.subjects import SubjectBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storymem.training.encode import GroupLoader
    from storymem.training.sections import DataSection

__all__ = ["AS_EVER", "HELD_OUT", "ClipStore", "GroupStore", "Groups", "TrainingBatch"]

HELD_OUT = "clips held out"
"""Where a checkpoint says which clips of footage were held out."""
AS_EVER = "the last groups"
"""It says so where no more than the last groups with related clips were, as always before there were scenes."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingBatch:
    """The tensors of one `BatchPlan`, in its order.

    Attributes:
        latents: ``[B, z, F_lat, h, w]``, the clips.
        memory: ``[B, z, M, h, w]``, or None.
        known: runs of samples with the same number of known frames: (number, condition latents ``[n, z, F_lat, h,
            w]``).
        prompts: B texts; empty where the prompt is dropped.
        u: B numbers in (0, 1) behind the noise levels.
        noise_seeds: B seeds.
        clips: B times the number of a group, and of the clip in it.
        subjects: of the clips' latent frames; None if the source does not know them.
        memory_subjects: of the memory's; None without memory too.
    """

    latents: torch.Tensor
    memory: torch.Tensor | None
    known: tuple[tuple[int, torch.Tensor], ...]
    prompts: tuple[str, ...]
    u: tuple[float, ...]
    noise_seeds: tuple[int, ...]
    clips: tuple[tuple[int, int], ...]
    subjects: SubjectBatch | None = None
    memory_subjects: SubjectBatch | None = None


class Groups(Protocol[T_co]):
    """Groups of something, by number."""

    def __len__(self) -> int:
        """Groups there are."""

    def size(self, index: int) -> int:
        """Clips of a group."""

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """See `ClipSource.subjects`."""

    def load(self, index: int) -> tuple[T_co, ...]:
        """The clips of a group."""


class GroupStore(Generic[T]):
    """The groups of a run.

    A source without end is seen through a window that begins with group `data.first` and moves on by `data.refresh`
    groups per step: what a step can draw is a function of its number, so a resumed run sees the very same clips.
    Footage is seen whole.

    Args:
        loader: gives groups.
        config: window and held-out groups.
        windowed: hold a window of groups in memory, instead of asking the loader each time.
        scenes: of each group. Some groups of a scene are held out only where none of it is trained on. None: no two
            groups are of one.

    Raises:
        SettingsError: there are not as many groups to hold out, or nothing else is left to train on.
    """

    def __init__(
        self, loader: Groups[T], config: DataSection, *, windowed: bool, scenes: Sequence[int] | None = None
    ) -> None:
        self.loader = loader
        self.config = config
        self.windowed = windowed
        count = len(loader)
        endless = config.world is not None  # there, every group has related clips
        related = range(count) if endless else [i for i in range(count) if loader.size(i) > 1]
        self.scenes = None if endless else scenes
        if self.scenes is None:
            held_out = related[max(0, len(related) - config.held_out) :] if config.held_out else []
        else:
            held_out = _whole_scenes(related, self.scenes, config.held_out, count)
        if len(held_out) < config.held_out or len(held_out) >= count:
            raise SettingsError(
                f"data.held_out is {config.held_out}, but only {len(related)} of {count} groups have related clips."
            )
        if config.first >= count - len(held_out):  # from the beginning again they would be called new and be old
            raise SettingsError(
                f"data.first is {config.first}, but there are {count - len(held_out)} groups to train on, counted "
                "from 0: lower it."
            )
        self.held_out = tuple(held_out)
        kept_out = set(held_out)
        if self.scenes is not None:
            seen = {self.scenes[i] for i in held_out}
            kept_out |= {i for i in range(count) if self.scenes[i] in seen}
            if len(kept_out) >= count:
                raise SettingsError(
                    f"data.held_out is {config.held_out}, but with what is related to that, all {count} groups would "
                    "be kept out of training: lower it, or run `storymem data prepare` again with the same videos and "
                    "a higher --similarity, so that fewer clips count as related."
                )
        self._training = range(count - len(held_out)) if endless else [i for i in range(count) if i not in kept_out]
        self._resident: MutableMapping[int, tuple[T, ...]] = {}
        self._table: tuple[tuple[int, ...], GroupTable] | None = None

    @property
    def training(self) -> Sequence[int]:
        """Numbers of all groups that are trained on, in the end."""
        return self._training

    def window(self, step: int) -> tuple[int, ...]:
        """Numbers of the groups that a step may draw from."""
        if not self.windowed:
            return tuple(self._training)
        first = self.config.first + math.floor(step * self.config.refresh)
        size = min(self.config.pool, len(self._training))
        return tuple(self._training[(first + i) % len(self._training)] for i in range(size))

    def spread(self, step: int, clips: int) -> tuple[int, ...]:
        """Groups to measure something by: a window as it is, or of a folder some from all over.

        Args:
            step: number of the step.
            clips: how many clips of a folder are wanted, about; its groups are `data.pool` at most.
        """
        window = self.window(step)
        if self.windowed:
            return window
        every = max(sum(map(self.loader.size, window)) / clips, len(window) / self.config.pool, 1)
        return window[:: math.ceil(every)]

    def table(self, step: int) -> GroupTable:
        """The same with their sizes."""
        window = self.window(step)
        if self._table is None or self._table[0] != window:
            self._table = (window, self.table_of(window))
        return self._table[1]

    def table_of(self, groups: Sequence[int]) -> GroupTable:
        """A table of these groups."""
        sizes = [self.loader.size(index) for index in groups]
        scenes = None if self.scenes is None else [self.scenes[index] for index in groups]
        keyframes, variants = self.config.keyframes_per_clip, self.config.variants
        return GroupTable(groups, sizes, keyframes, variants, self.loader.subjects, scenes)

    def prepare(self, step: int) -> None:
        """Bring the window into memory, and forget what has left it."""
        if not self.windowed:
            return
        window = self.table(step).groups
        keep = {*window, *self.held_out}
        for index in [index for index in self._resident if index not in keep]:
            del self._resident[index]
        for index in window:
            self._hold(index)

    def _hold(self, index: int) -> None:
        """Bring a group into memory if it is not there; if it is, that costs a look into a dictionary."""
        if index not in self._resident:
            self._resident[index] = self.loader.load(index)

    def clips(self, index: int) -> tuple[T, ...]:
        """The clips of one group."""
        if not self.windowed:
            return self.loader.load(index)
        self._hold(index)
        return self._resident[index]


class ClipStore(GroupStore[EncodedClip]):
    """Groups of encoded clips, and batches of them.

    Args:
        loader: gives encoded groups.
        config: window and held-out groups.
        windowed: see `GroupStore`.
        scenes: see `GroupStore`.
    """

    loader: GroupLoader

    def __init__(
        self, loader: GroupLoader, config: DataSection, *, windowed: bool, scenes: Sequence[int] | None = None
    ) -> None:
        super().__init__(loader, config, windowed=windowed, scenes=scenes)
        self._pool: ClipPool | None = None
        if windowed:
            self._resident = self._pool = ClipPool(min(config.pool, len(loader)) + config.held_out)

    def gather(self, plan: BatchPlan, device: torch.device | str) -> TrainingBatch:
        """The tensors of a plan, float32, on `device`."""
        samples = plan.samples
        parts = self._from_files(plan, device) if self._pool is None else self._from_pool(self._pool, plan, device)
        return TrainingBatch(
            **parts,
            u=tuple(sample.u for sample in samples),
            noise_seeds=tuple(sample.noise_seed for sample in samples),
            clips=tuple((sample.group, sample.clip) for sample in samples),
        )

    def _from_pool(self, pool: ClipPool, plan: BatchPlan, device: torch.device | str) -> dict[str, Any]:
        for group in {sample.group for sample in plan.samples}:
            self._hold(group)
        place: dict[str, Any] = {"device": device, "dtype": torch.float32}
        rows = [pool.row(sample.group, sample.clip) for sample in plan.samples]
        count, memory, remembered = len(rows), None, None
        if plan.num_memory:
            slots = [(sample.group, slot) for sample in plan.samples for slot in sample.memory]
            others = [pool.row(group, slot.clip) for group, slot in slots]
            keyframes = [slot.keyframe for _, slot in slots]
            memory = pool.take("keyframes", others, keyframes, [slot.variant for _, slot in slots])
            memory = memory.to(**place).view(count, plan.num_memory, *memory.shape[1:]).transpose(1, 2)
            remembered = pool.subjects(others, keyframes)
        known, start = [], 0
        for number, run in groupby(plan.samples, key=lambda sample: sample.num_known):
            stop = start + sum(1 for _ in run)
            if number:
                condition = pool.take(f"known_{number}", rows[start:stop])
            else:
                condition = self.loader.blank.expand(stop - start, *self.loader.blank.shape)
            known.append((number, condition.to(**place)))
            start = stop
        subjects = pool.subjects(rows)
        return {
            "latents": pool.take("latents", rows).to(**place),
            "memory": memory,
            "known": tuple(known),
            "prompts": tuple(
                _prompt(sample, pool.captions(row)) for sample, row in zip(plan.samples, rows, strict=True)
            ),
            "subjects": None if subjects is None else subjects.to(device),
            "memory_subjects": None if remembered is None else remembered.regrouped(count).to(device),
        }

    def _from_files(self, plan: BatchPlan, device: torch.device | str) -> dict[str, Any]:
        """Of footage, which is read when it is needed and of whose subjects nothing is known."""
        latents, memories, prompts = [], [], []
        known: dict[int, list[torch.Tensor]] = {}
        for sample in plan.samples:
            clips = self.clips(sample.group)
            clip = clips[sample.clip]
            latents.append(clip.latents)
            memories += [clips[slot.clip].keyframes[slot.keyframe, slot.variant] for slot in sample.memory]
            condition = clip.known(sample.num_known) if sample.num_known else self.loader.blank
            known.setdefault(sample.num_known, []).append(condition)
            prompts.append(_prompt(sample, clip.captions))
        memory = None
        if plan.num_memory:
            stacked = _stack(memories, device)  # [B * M, z, h, w]
            memory = stacked.view(len(latents), plan.num_memory, *stacked.shape[1:]).transpose(1, 2)
        return {
            "latents": _stack(latents, device),
            "memory": memory,
            "known": tuple((count, _stack(parts, device)) for count, parts in known.items()),
            "prompts": tuple(prompts),
        }


def _whole_scenes(related: Sequence[int], scenes: Sequence[int], wanted: int, count: int) -> list[int]:
    """The groups to hold out: the last ones, scene by scene; of two scenes, if there are, to know memory that is wrong.

    Args:
        related: groups that can be held out.
        scenes: of every group.
        wanted: how many.
        count: of all groups.
    """
    of_scene: dict[int, list[int]] = {}
    for index in reversed(related):
        of_scene.setdefault(scenes[index], []).append(index)
    in_order = [index for groups in of_scene.values() for index in groups]
    held_out = in_order[:wanted]
    if wanted > 1 and len(of_scene) > 1 and len({scenes[index] for index in held_out}) == 1:
        first, second, *_ = of_scene
        if sum(scenes[index] in (first, second) for index in range(count)) < count:
            held_out[-1] = of_scene[second][0]
    return sorted(held_out)


def _prompt(sample: SamplePlan, captions: Sequence[str]) -> str:
    return "" if sample.caption is None else captions[int(sample.caption * len(captions))]


def _stack(tensors: list[torch.Tensor], device: torch.device | str) -> torch.Tensor:
    return torch.stack(tensors).to(device=device, dtype=torch.float32)
