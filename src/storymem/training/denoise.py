"""One expert in training: batches with memory and known frames, the flow loss, validation, sample sheets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from storymem.conditioning.condition import ShotCondition, build_condition
from storymem.conditioning.layout import VideoLayout
from storymem.errors import SettingsError
from storymem.training.batches import BatchesAhead
from storymem.training.noise import draw_noise
from storymem.training.objective import (
    NUM_TRAIN_TIMESTEPS,
    add_noise,
    noise_levels,
    sequence_of,
    transformer_input,
    velocity_target,
    video_loss,
)
from storymem.training.plan import BatchPlan, SamplePlan, held_out_plans, plan_batch
from storymem.training.recognition import recognition_loss, recognition_shares
from storymem.training.sections import ALL_TOKENS, BaseLossSection, TokensSection
from storymem.training.sparse import TokenChoice, choose_tokens, patchify, take, token_loss
from storymem.training.store import ClipStore, TrainingBatch
from storymem.training.text import PromptIds, Text

if TYPE_CHECKING:
    from accelerate import Accelerator

    from storymem.training.config import BaseStage, MemoryStage
    from storymem.training.guidance import GuidedTeacher
    from storymem.training.log import RunLog
    from storymem.training.networks import Denoiser
    from storymem.training.subjects import SubjectBatch
    from storymem.training.text import PromptCache

__all__ = ["DenoisingTask", "Errors", "Geometry", "conditions_of"]

_SHOWN = 0.25  # a token shows a subject if so much of one of its latent pixels does
MemoryKind = Literal["right", "none", "wrong"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Size of the clips and factors of the VAE, which make layouts."""

    num_frames: int
    height: int
    width: int
    temporal_factor: int
    spatial_factor: int

    def layout(self, num_memory: int, num_known: int) -> VideoLayout:
        """The layout of a clip with so much given."""
        return VideoLayout(
            self.num_frames,
            self.height,
            self.width,
            num_memory=num_memory,
            num_known=num_known,
            temporal_factor=self.temporal_factor,
            spatial_factor=self.spatial_factor,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """What a module does wrong, per sample ``[B]``.

    Attributes:
        flow: the flow loss.
        recognition: cross entropy of what it says of the subjects of clip and memory; None without recogniser.
        recognised: the share of what could be said of subjects that it says rightly: ``recognised`` of the clip's,
            ``recognised_memory`` of those that its memory shows; ``confused`` and ``confused_memory``, the share that
            it says of another subject in the same picture; empty without recogniser.
        clauses: what prompts do not say of whose clause a word stands in, see `ClauseMarks`; None if not asked.
    """

    flow: torch.Tensor
    recognition: torch.Tensor | None = None
    recognised: Mapping[str, torch.Tensor] = field(default_factory=dict)
    clauses: torch.Tensor | None = None


def conditions_of(batch: TrainingBatch, geometry: Geometry, stride: int) -> list[ShotCondition]:
    """The conditions of a batch, one per run of samples with the same known frames, in the batch's order."""
    conditions, start = [], 0
    num_memory = 0 if batch.memory is None else batch.memory.shape[2]
    for num_known, latents in batch.known:
        stop = start + latents.shape[0]
        memory = None if batch.memory is None else batch.memory[start:stop]
        layout = geometry.layout(num_memory, num_known)
        conditions.append(build_condition(layout, memory, latents, stride=stride))
        start = stop
    return conditions


def _num_tokens(latents: torch.Tensor, patch: Sequence[int]) -> int:
    return latents[0, 0].numel() // math.prod(patch)


def _tokens_of(
    latents: torch.Tensor, subjects: SubjectBatch | None, share: float, seeds: Sequence[int], patch: Sequence[int]
) -> TokenChoice:
    """A share of the tokens of latents ``[B, z, T, h, w]``, those with subjects first."""
    number = _num_tokens(latents, patch)
    scores = draw_noise(seeds, (number,), latents.device)
    subject = torch.zeros_like(scores, dtype=torch.bool)
    if subjects is not None:
        subject = patchify(subjects.masks.amax(dim=2)[:, None], patch).amax(dim=2) > _SHOWN
    return choose_tokens(scores, subject, max(1, round(share * number)))


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """The tokens of clip and memory that are computed, and ``[B, K]`` in the whole sequence: the memory's first."""

    clip: TokenChoice
    memory: TokenChoice | None
    kept: torch.Tensor

    @property
    def memory_tokens(self) -> int:
        """How many of the K are the memory's."""
        return self.kept.shape[1] - self.clip.kept.shape[1]


class DenoisingTask:
    """Trains one expert of a model.

    Args:
        stage: the configuration.
        name: ``model`` for the only expert, else ``high`` or ``low``.
        denoiser: the expert and, if it is trained along, the text encoder.
        store: the clips.
        geometry: sizes.
        span: the noise levels [low, high] that this expert works at.
        accelerator: of the run.
        prompts: embeddings of a frozen text encoder; or None, and the denoiser's own is trained.
        tokenizer: of the text encoder that is trained along.
        teacher: says what is wanted; None: the clips do.
        draw_sheet: makes a sample sheet with the current weights.
        ahead: put the next batch together while one is computed; None does so on accelerators.
    """

    def __init__(
        self,
        stage: BaseStage | MemoryStage,
        name: str,
        denoiser: Denoiser,
        store: ClipStore,
        geometry: Geometry,
        span: tuple[float, float],
        accelerator: Accelerator,
        *,
        draw_sheet: Callable[[], Any],
        prompts: PromptCache | None = None,
        tokenizer: Any = None,
        teacher: GuidedTeacher | None = None,
        ahead: bool | None = None,
    ) -> None:
        assert (prompts is None) != (tokenizer is None)
        self.stage = stage
        self.name = name
        self.module = denoiser
        self.store = store
        self.geometry = geometry
        self.span = span
        self.accelerator = accelerator
        self._prompts = prompts
        self._ids = None if tokenizer is None else PromptIds(tokenizer, marks=denoiser.clauses is not None)
        self._teacher = teacher
        self.beside: Sequence[torch.nn.Module] = () if teacher is None else teacher.own
        self._draw_sheet = draw_sheet
        # While an accelerator computes, the processor puts the next batch together; a processor has nothing to spare.
        ahead = accelerator.device.type != "cpu" if ahead is None else ahead
        self._batches = BatchesAhead(self._made, accelerator.device, ahead=ahead)
        self._in_channels = int(denoiser.transformer.config.in_channels)
        self._dtype = denoiser.transformer.dtype

    def prepare(self, step: int) -> None:
        """See `Task.prepare`; the batch itself is put together in `loss`, or was while the one before was computed."""

    def loss(self, module: torch.nn.Module, step: int, part: int) -> torch.Tensor:
        """See `Task.loss`."""
        batch, text = self._taken(step, part)
        t = noise_levels(batch.u, self.stage.noise, *self.span)
        errors = self.errors(module, batch, t, tokens=self.stage.tokens, text=text)
        loss = errors.flow.mean()
        if errors.recognition is not None:
            loss = loss + self.stage.loss.recognition * errors.recognition.mean()
        if errors.clauses is not None:
            assert isinstance(self.stage.loss, BaseLossSection)
            loss = loss + self.stage.loss.clauses * errors.clauses.mean()
        return loss

    def _taken(self, step: int, part: int) -> tuple[TrainingBatch, Text]:
        """The batch of a step and part; that of the next is begun."""
        last = part + 1 == self.stage.accumulate
        following = (step + 1, 0) if last else (step, part + 1)
        return self._batches.take(step, part, following if following[0] < self.stage.steps else None)

    def _made(self, step: int, part: int) -> tuple[TrainingBatch, Text]:
        batch = self.batch(step, part)
        return batch, self.text_of(batch.prompts)

    def batch(self, step: int, part: int) -> TrainingBatch:
        """This process's share of one part of a step."""
        self.store.prepare(step)
        plan = plan_batch(
            self.stage.seed,
            step,
            part,
            table=self.store.table(step),
            config=self.stage.conditioning,
            batch=self.stage.batch_size // self.stage.accumulate,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            stratified=self.stage.noise.stratified,
        )
        return self.store.gather(plan, self.accelerator.device)

    def errors(
        self,
        module: torch.nn.Module,
        batch: TrainingBatch,
        t: torch.Tensor,
        tokens: TokensSection = ALL_TOKENS,
        text: Text | None = None,
    ) -> Errors:
        """What the module does wrong at noise levels t ``[B]``.

        Args:
            module: the denoiser, wrapped or not.
            batch: of clips.
            t: ``[B]``.
            tokens: the share of the tokens that it looks at.
            text: of the batch's prompts, if it is there already.
        """
        device = self.accelerator.device
        clean = sequence_of(batch.memory, batch.latents)
        noise = self._noise(batch)
        t = t.to(device)
        conditions = conditions_of(batch, self.geometry, self.stage.conditioning.memory_stride)
        states = transformer_input(add_noise(clean, noise, t), conditions, self._in_channels, self._dtype)
        text = self.text_of(batch.prompts) if text is None else text
        target, level, positions = velocity_target(clean, noise), t * NUM_TRAIN_TIMESTEPS, conditions[0].positions
        num_memory = 0 if batch.memory is None else batch.memory.shape[2]
        patch = self.module.transformer.config.patch_size
        choice = None if tokens.all else self._choose(batch, tokens, patch)
        wanted = target[:, :, num_memory:]
        if self._teacher is not None:
            kept = None if choice is None else (choice.kept, choice.clip.kept)
            wanted = self._teacher.velocity(module, states, level, text, positions, num_memory, kept)
        elif choice is not None:
            wanted = take(patchify(wanted, patch), choice.clip.kept)
        if choice is None:
            velocity, said, misplaced = module(states, level, text, positions)
            flow = video_loss(velocity[:, :, num_memory:], wanted, 0, self._weight(batch))
        else:
            velocity, said, misplaced = module(states, level, text, positions, choice.kept)
            flow = token_loss(velocity[:, choice.memory_tokens :], wanted, choice.clip, patch, self._weight(batch))
        errors = Errors(flow) if said is None else self._recognition(flow, said, batch, choice)
        return replace(errors, clauses=misplaced)

    def _noise(self, batch: TrainingBatch) -> torch.Tensor:
        """Of the whole sequence, ``[B, z, M + F_lat, h, w]``."""
        device = self.accelerator.device
        # The clip's noise does not depend on the number of keyframes: errors with and without memory can be compared.
        noise = draw_noise(batch.noise_seeds, batch.latents.shape[1:], device)
        if batch.memory is None:
            return noise
        own = [seed ^ 1 for seed in batch.noise_seeds]
        return sequence_of(draw_noise(own, batch.memory.shape[1:], device), noise)

    def _choose(self, batch: TrainingBatch, tokens: TokensSection, patch: Sequence[int]) -> _Choice:
        clip = _tokens_of(batch.latents, batch.subjects, tokens.clip, [s ^ 2 for s in batch.noise_seeds], patch)
        if batch.memory is None:
            return _Choice(clip, None, clip.kept)
        seeds = [s ^ 3 for s in batch.noise_seeds]
        memory = _tokens_of(batch.memory, batch.memory_subjects, tokens.memory, seeds, patch)
        kept = torch.cat([memory.kept, clip.kept + _num_tokens(batch.memory, patch)], dim=1)
        return _Choice(clip, memory, kept)

    def _recognition(
        self, flow: torch.Tensor, said: torch.Tensor, batch: TrainingBatch, choice: _Choice | None
    ) -> Errors:
        assert self.module.recogniser is not None
        classes, patch = self.module.recogniser.classes, self.module.recogniser.patch
        if choice is None:
            of_clip = of_memory = None
            start = 0 if batch.memory is None else _num_tokens(batch.memory, (1, *patch))
        else:
            of_clip, of_memory, start = choice.clip, choice.memory, choice.memory_tokens
        shown = self._known(batch.subjects, "loss.recognition")
        parts = [("", said[:, start:], shown, of_clip)]
        if batch.memory_subjects is not None:
            parts.append(("_memory", said[:, :start], batch.memory_subjects, of_memory))
        loss = sum(recognition_loss(some, who, classes, patch, tokens) for _, some, who, tokens in parts)
        shares: dict[str, torch.Tensor] = {}
        for name, some, who, tokens in parts:
            found = recognition_shares(some, who, classes, patch, tokens)
            shares |= zip((f"recognised{name}", f"confused{name}"), found, strict=True)
        return Errors(flow, cast(torch.Tensor, loss), shares)

    def _weight(self, batch: TrainingBatch) -> torch.Tensor | None:
        """How much each latent pixel counts: `loss.focus` times more where the clip shows what it is about."""
        focus = self.stage.loss.focus
        if focus == 1:
            return None
        return 1 + (focus - 1) * self._known(batch.subjects, "loss.focus").masks.amax(dim=2)

    def _known(self, subjects: SubjectBatch | None, setting: str) -> SubjectBatch:
        if subjects is None:
            raise SettingsError(
                f"{setting} is set, but {self.stage.data.world} does not say where in its pictures its subjects are: "
                f"leave {setting} out."
            )
        return subjects

    def text_of(self, prompts: Sequence[str]) -> Text:
        """Prompts as the module takes them."""
        if self._prompts is not None:
            return Text(self._prompts(prompts))
        assert self._ids is not None
        return self._ids(prompts).to(self.accelerator.device)

    def is_due(self, step: int) -> bool:
        """See `Task.is_due`."""
        return self._validates(step) or self._draws(step)

    def _validates(self, step: int) -> bool:
        every = self.stage.validation.every
        return bool(every) and step % every == 0

    def _draws(self, step: int) -> bool:
        every = self.stage.sample.every
        return bool(every) and step % every == 0

    def observe(self, step: int, log: RunLog, module: torch.nn.Module) -> None:
        """See `Task.observe`."""
        self._batches.wait()  # the store is not looked at by two at a time
        if self._validates(step):
            log.record(self.name, step, self.validate(module))
        if self._draws(step) and self.accelerator.is_main_process:
            log.picture(self.name, step, self._draw_sheet())

    def _held_out(self) -> tuple[int, list[tuple[SamplePlan, SamplePlan]]]:
        """The number of keyframes, and the clips that validation looks at, with the right memory and with a wrong."""
        config = self.stage.validation
        count = min(config.num_memory, self.stage.conditioning.max_memory)
        table = self.store.table_of(self.store.held_out)
        return count, held_out_plans(table, config.clips, count, self.stage.seed)

    def _gathered(self, count: int, plans: Sequence[SamplePlan]) -> Iterator[TrainingBatch]:
        """Held-out clips in batches as large as in training."""
        size = max(1, self.stage.batch_size // self.stage.accumulate // self.accelerator.num_processes)
        for start in range(0, len(plans), size):
            plan = BatchPlan(count, tuple(plans[start : start + size]))
            yield self.store.gather(plan, self.accelerator.device)

    @torch.no_grad()
    def validate(self, module: torch.nn.Module) -> dict[str, float]:
        """Mean flow loss on held-out clips: ``validation/LEVEL/KIND``, memory of KIND right, none or wrong.

        Where only one held-out group fits, no memory is known to be wrong, and nothing is said of it.

        With a recogniser what it recognises and confuses too, see `Errors`: ``validation/LEVEL/KIND/recognised``. And,
        if asked for, ``validation/clauses``.
        """
        config = self.stage.validation
        remembers = self.stage.conditioning.max_memory > 0
        count, plans = self._held_out()
        kinds: tuple[MemoryKind, ...] = ("right", "none", "wrong") if remembers else ("none",)
        if any(wrong.group == right.group for right, wrong in plans):
            kinds = tuple(kind for kind in kinds if kind != "wrong")
        levels = [level for level in config.levels if self.span[0] <= level <= self.span[1]]
        sums: dict[str, list[float]] = {}
        rights, wrongs = zip(*plans, strict=True)
        for right, wrong in zip(self._gathered(count, rights), self._gathered(count, wrongs), strict=True):
            memories = {
                "right": (right.memory, right.memory_subjects),
                "none": (None, None),
                "wrong": (wrong.memory, wrong.memory_subjects),
            }
            for level, kind in product(levels, kinds):
                batch = replace(right, memory=memories[kind][0], memory_subjects=memories[kind][1])
                errors = self.errors(module, batch, torch.full((len(right.latents),), level))
                name = f"validation/{level:g}/{kind}"
                sums.setdefault(name, []).extend(errors.flow.tolist())
                for what, share in errors.recognised.items():
                    sums.setdefault(f"{name}/{what}", []).extend(share.tolist())
                if errors.clauses is not None:
                    sums.setdefault("validation/clauses", []).extend(errors.clauses.tolist())
        return {name: float(torch.tensor(values).mean()) for name, values in sums.items()}
