"""Learning from a judge: shots are made as in a film, judged, and the model is moved to where they are judged better.

The flow loss asks what a shot's noise was, in states that are a true clip and noise. It says little of whether a shot
that is made from nothing but noise shows the right hat. Here such shots are made by the model as it is, without
gradients; the judge says how their latents should change; and at one of the steps on the way the velocity is moved so
that the end changes like that. The states on the way are taken as given (arXiv 2405.00760, section 3.2), so a step
costs no more memory than one of the flow loss, and early steps learn as well as late ones.

Making a shot takes both experts of a model with two, so both are in memory, and both can learn from the same shots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from storymem.errors import SettingsError
from storymem.sampling import shift_level
from storymem.training.denoise import DenoisingTask, conditions_of
from storymem.training.judging import Judge, Judgement
from storymem.training.objective import NUM_TRAIN_TIMESTEPS, transformer_input
from storymem.training.seeding import generator
from storymem.training.shared import autocast_of

if TYPE_CHECKING:
    from diffusers import WanTransformer3DModel

    from storymem.conditioning.codec import LatentCodec
    from storymem.conditioning.condition import ShotCondition
    from storymem.training.clips import ClipSource
    from storymem.training.networks import Denoiser
    from storymem.training.sections import RewardSection
    from storymem.training.store import TrainingBatch
    from storymem.training.text import Text

__all__ = ["ExpertPair", "MadeShots", "RewardTask"]


@dataclass(frozen=True, slots=True, eq=False)
class MadeShots:
    """Shots as they were made.

    Attributes:
        latents: ``[B, z, F_lat, h, w]``, where they ended.
        given: ``[B, C, M + F_lat, h, w]``, what the transformer was given at each step that is learned from.
    """

    latents: torch.Tensor
    given: Mapping[int, torch.Tensor]


class ExpertPair(nn.Module):
    """Both experts of a model; the one that works at a noise level is asked, as in the pipeline.

    Args:
        high: works at and above the boundary.
        low: works below.
        boundary: the noise level.
    """

    recogniser: None = None
    clauses: None = None

    def __init__(self, high: Denoiser, low: Denoiser, boundary: float) -> None:
        super().__init__()
        self.high = high
        self.low = low
        self.boundary = boundary

    @property
    def networks(self) -> tuple[Denoiser, Denoiser]:
        """Both, for what is done to each by itself."""
        return self.high, self.low

    @property
    def transformer(self) -> WanTransformer3DModel:
        """The upper one, for what both have in common."""
        return self.high.transformer

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        *rest: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """See `Denoiser.forward`; all of the batch at one timestep."""
        first = float(timestep[0])
        assert bool((timestep == first).all())
        asked = self.high if first >= self.boundary * NUM_TRAIN_TIMESTEPS else self.low
        said: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
        said = asked(hidden_states, timestep, *rest)
        return said


class RewardTask(DenoisingTask):
    """Trains a model by what a judge says of the shots that it makes; all else is as in `DenoisingTask`.

    Args:
        arguments: see `DenoisingTask`; the denoiser is an `ExpertPair` where the model has two.
        reward: how shots are made.
        judge: judges them.
        source: of the clips, which says what they should be.
        codec: turns latents into pictures; its VAE is on the accelerator's device and is not trained.
        spans: the noise levels of each expert that is trained; one step in each is learned from.
        options: see `DenoisingTask`.

    Raises:
        SettingsError: no step is at the noise levels of an expert.
    """

    def __init__(
        self,
        *arguments: Any,
        reward: RewardSection,
        judge: Judge,
        source: ClipSource,
        codec: LatentCodec,
        spans: Sequence[tuple[float, float]],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._judge = judge.to(self.accelerator.device)
        self._source = source
        self._keep = reward.keep
        self._judge_below = math.inf if reward.judge_below is None else reward.judge_below
        self._codec = codec
        self._codec.vae.requires_grad_(False)
        steps, shift = reward.steps, self.stage.noise.shift
        exact = shift_level(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift).tolist()
        # Rounded, a step at the boundary is there exactly, wherever it is asked.
        self._levels = [round(level, 9) for level in exact]
        heard = math.inf if reward.keep else self._judge_below
        self._steps = [_steps_in(self._levels[:-1], low, high, below=heard) for low, high in spans]
        for (low, high), own in zip(spans, self._steps, strict=True):
            if not own:
                also = f", and below reward.judge_below, {heard:g}" if heard <= high else ""
                raise SettingsError(
                    f"reward.steps is {steps}: with noise.shift {shift:g} none of them is between the noise levels "
                    f"{low:g} and {high:g}, at which one expert works{also}; raise {'either' if also else 'it'}."
                )

    def loss(self, module: torch.nn.Module, step: int, part: int) -> torch.Tensor:
        """See `Task.loss`: what the judge says; its gradient is that of the steps that are learned from."""
        batch, text = self._taken(step, part)
        rng = generator(self.stage.seed, "reward", self.name, step, part)
        learned = [own[int(rng.integers(len(own)))] for own in self._steps]
        conditions = conditions_of(batch, self.geometry, self.stage.conditioning.memory_stride)
        made = self.make(module, batch, text, conditions, learned)
        judgement, gradient = self.wanted(made.latents, batch)
        positions, number = conditions[0].positions, 0 if batch.memory is None else batch.memory.shape[2]
        moved = kept = gradient.new_zeros(())
        for number_of_step, given in made.given.items():
            level = self._timesteps(number_of_step, batch)
            velocity = module(given, level, text, positions)[0][:, :, number:]
            judged = self._levels[number_of_step] < self._judge_below
            if self._teacher is not None:
                off = (
                    velocity.float() - self._teacher.velocity(module, given, level, text, positions, number)
                ).square()
                if judged:
                    off = self._elsewhere(batch, judgement.stray) * off
                kept = kept + off.flatten(1).sum(dim=1).mean()
            if judged:
                # The end falls as the velocity rises, by the noise that the step takes away; how much that is, is left
                # out, so that every step counts alike.
                moved = moved - (gradient * velocity.float()).flatten(1).sum(dim=1).mean()
        learned_from = moved + self._keep * kept / 2
        loss: torch.Tensor = learned_from + (judgement.loss.mean() - learned_from).detach()
        return loss

    def _elsewhere(self, batch: TrainingBatch, stray: torch.Tensor | None) -> torch.Tensor:
        """``[B, 1, F_lat, h, w]``, 0 where the clip shows its subjects, and around them; for a shot that is made of its
        prompt shows them near there too. And 0 where something is that should not be there."""
        shown = self._known(batch.subjects, "reward").masks.amax(dim=2)
        if stray is not None:
            gone = functional.adaptive_max_pool2d(stray[:, None].to(shown), shown.shape[-2:])
            shown = torch.maximum(shown, gone)
        return 1 - functional.max_pool2d(shown, 3, stride=1, padding=1)[:, None]

    def _timesteps(self, step: int, batch: TrainingBatch) -> torch.Tensor:
        level = self._levels[step] * NUM_TRAIN_TIMESTEPS
        return torch.full((len(batch.latents),), level, device=self.accelerator.device)

    @torch.no_grad()
    def make(
        self,
        module: torch.nn.Module,
        batch: TrainingBatch,
        text: Text,
        conditions: list[ShotCondition],
        learned: Sequence[int] = (),
    ) -> MadeShots:
        """The batch's shots from noise, by Euler's steps without guidance.

        Args:
            module: the denoiser, wrapped or not.
            batch: says what is to be made, with which memory.
            text: of its prompts.
            conditions: of the batch.
            learned: numbers of the steps of which is kept what the transformer was given.
        """
        number = 0 if batch.memory is None else batch.memory.shape[2]
        states, given, trains = self._noise(batch), {}, module.training  # the memory's slots are denoised along
        module.eval()  # films are made without dropout
        for step, (level, after) in enumerate(pairwise(self._levels)):
            shown = transformer_input(states, conditions, self._in_channels, self._dtype)
            if step in learned:
                given[step] = shown
            velocity = module(shown, self._timesteps(step, batch), text, conditions[0].positions)[0].float()
            states = states + (after - level) * velocity
        module.train(trains)
        return MadeShots(states[:, :, number:], given)

    def _judged(self, latents: torch.Tensor, batch: TrainingBatch) -> Judgement:
        labels = self._known(batch.subjects, "reward").shown_labels()
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=autocast_of(self.stage) is not None):
            frames = self._codec.decode_with_gradients(latents)
        setting = [tuple(self._source.setting(*clip)) for clip in batch.clips]
        return self._judge(frames, labels, torch.tensor(setting, dtype=torch.int64, device=frames.device))

    def wanted(self, latents: torch.Tensor, batch: TrainingBatch) -> tuple[Judgement, torch.Tensor]:
        """What the judge says, and how it wants latents not to change: its gradient, ``[B, z, F_lat, h, w]``.

        Scaled so that the middle one of the clips of all processes has a length of 1, whatever the judge's loss is
        like, and none is longer, as one that is badly wrong would drown the others.

        Args:
            latents: ``[B, z, F_lat, h, w]``, shots.
            batch: what they should be.
        """
        latents = latents.detach().requires_grad_()
        judgement = self._judged(latents, batch)
        (gradient,) = torch.autograd.grad(judgement.loss.sum(), latents)
        sizes = gradient.flatten(1).norm(dim=1)
        everyones = self.accelerator.gather(sizes)
        judged = everyones[everyones > 0]
        if len(judged):
            gradient = gradient / sizes.clamp(min=judged.median()).view(-1, 1, 1, 1, 1)
        return judgement, gradient

    @torch.no_grad()
    def validate(self, module: torch.nn.Module) -> dict[str, float]:
        """See `DenoisingTask.validate`; and ``validation/judge`` and ``validation/judge/right`` of shots from noise."""
        figures = super().validate(module)
        count, plans = self._held_out()
        losses, shares = [], []
        for batch in self._gathered(count, [right for right, _ in plans]):
            conditions = conditions_of(batch, self.geometry, self.stage.conditioning.memory_stride)
            made = self.make(module, batch, self.text_of(batch.prompts), conditions)
            judgement = self._judged(made.latents, batch)
            losses.append(judgement.loss)
            shares.append(judgement.right)
        figures["validation/judge"] = float(torch.cat(losses).mean())
        figures["validation/judge/right"] = float(torch.cat(shares).nanmean())
        return figures


def _steps_in(levels: Sequence[float], low: float, high: float, below: float = math.inf) -> list[int]:
    """The steps that an expert makes: as the pipeline has it, the boundary itself is the upper one's."""
    own = [step for step, level in enumerate(levels) if low <= level < high or level == high == 1]
    return [step for step in own if levels[step] < below]
