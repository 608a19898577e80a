"""Learning from a judge: shots are made as in a film, judged, and the model is moved to where they are judged better.

The flow loss asks what a shot's noise was, in states that are a true clip and noise. It says little of whether a shot
that is made from nothing but noise shows the right hat. Here such shots are made by the model as it is, without
gradients; the judge says how their latents should change; and at one of the steps on the way the velocity is moved so
that the end changes like that. The states on the way are taken as given (arXiv 2405.00760, section 3.2), so a step
costs no more memory than one of the flow loss, and early steps learn as well as late ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from storymem.errors import SettingsError
from storymem.sampling import shift_level
from storymem.training.denoise import DenoisingTask, conditions_of
from storymem.training.judging import Judge, Judgement
from storymem.training.objective import NUM_TRAIN_TIMESTEPS, add_noise, transformer_input
from storymem.training.plan import BatchPlan, held_out_plans
from storymem.training.seeding import generator

if TYPE_CHECKING:
    from storymem.conditioning.codec import LatentCodec
    from storymem.conditioning.condition import ShotCondition
    from storymem.training.networks import Denoiser
    from storymem.training.sections import RewardSection
    from storymem.training.store import TrainingBatch
    from storymem.training.text import Text

__all__ = ["RewardTask"]


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """Shots as they were made.

    Attributes:
        latents: ``[B, z, F_lat, h, w]``, where they ended.
        given: ``[B, C, M + F_lat, h, w]``, what the transformer was given at the step that is learned from.
        level: of that step.
    """

    latents: torch.Tensor
    given: torch.Tensor
    level: float


class RewardTask(DenoisingTask):
    """Trains one expert by what a judge says of the shots that it makes; all else is as in `DenoisingTask`.

    Args:
        arguments: see `DenoisingTask`.
        reward: how shots are made.
        judge: judges them.
        codec: turns latents into pictures; its VAE is on the accelerator's device and is not trained.
        other: the other expert of a model with two, which stays as it is.
        options: see `DenoisingTask`.
    """

    def __init__(
        self,
        *arguments: Any,
        reward: RewardSection,
        judge: Judge,
        codec: LatentCodec,
        other: Denoiser | None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._judge = judge.to(self.accelerator.device)
        self._codec = codec
        self._codec.vae.requires_grad_(False)
        self._other = None if other is None else other.requires_grad_(False).eval().to(self.accelerator.device)
        steps = reward.steps
        self._levels = shift_level(torch.linspace(1, 0, steps + 1), self.stage.noise.shift).tolist()
        self._own = [step for step, level in enumerate(self._levels[:-1]) if self._is_own(level)]
        if not self._own:
            low, high = self.span
            raise SettingsError(
                f"reward.steps is {steps}: with noise.shift {self.stage.noise.shift:g} none of them is between the "
                f"noise levels {low:g} and {high:g}, at which this expert works; raise it."
            )

    def _is_own(self, level: float) -> bool:
        # As the pipeline has it: the boundary itself is the upper expert's.
        low, high = self.span
        return low <= level < high or level == high == 1

    def loss(self, module: torch.nn.Module, step: int, part: int) -> torch.Tensor:
        """See `Task.loss`: what the judge says; its gradient is that of the step that is learned from."""
        batch, text = self._taken(step, part)
        rng = generator(self.stage.seed, "reward", self.name, step, part)
        learned = self._own[int(rng.integers(len(self._own)))]
        conditions = conditions_of(batch, self.geometry, self.stage.conditioning.memory_stride)
        made = self._make(module, batch, text, conditions, learned)
        judgement, gradient = self._wanted(made.latents, batch)
        positions, number = conditions[0].positions, 0 if batch.memory is None else batch.memory.shape[2]
        velocity = module(made.given, self._timesteps(made.level, batch), text, positions)[0][:, :, number:]
        # The end falls as the velocity rises, by the noise that the step takes away; how much that is, is left out, so
        # that every step of an expert counts alike.
        moved = -torch.mean((gradient * velocity.float()).flatten(1).sum(dim=1))
        loss: torch.Tensor = moved + (judgement.loss.mean() - moved).detach()
        return loss

    def _timesteps(self, level: float, batch: TrainingBatch) -> torch.Tensor:
        return torch.full((len(batch.latents),), level * NUM_TRAIN_TIMESTEPS, device=self.accelerator.device)

    @torch.no_grad()
    def _make(
        self,
        module: torch.nn.Module,
        batch: TrainingBatch,
        text: Text,
        conditions: list[ShotCondition],
        learned: int | None = None,
    ) -> _Made:
        """The batch's shots from noise, by Euler's steps without guidance."""
        number = 0 if batch.memory is None else batch.memory.shape[2]
        noise = self._noise(batch)
        states, given = noise.clone(), noise
        for step, (level, after) in enumerate(pairwise(self._levels)):
            if batch.memory is not None:  # as the flow loss shows it
                at = torch.full((len(states),), level, device=states.device)
                states[:, :, :number] = add_noise(batch.memory, noise[:, :, :number], at)
            shown = transformer_input(states, conditions, self._in_channels, self._dtype)
            if step == learned:
                given = shown
            asked = module if self._other is None or self._is_own(level) else self._other
            velocity = asked(shown, self._timesteps(level, batch), text, conditions[0].positions)[0].float()
            states = states + (after - level) * velocity
        return _Made(states[:, :, number:], given, 0.0 if learned is None else self._levels[learned])

    def _judged(self, latents: torch.Tensor, batch: TrainingBatch) -> Judgement:
        labels = self._known(batch.subjects, "reward").shown_labels()
        return self._judge(self._codec.decode_with_gradients(latents), labels)

    def _wanted(self, latents: torch.Tensor, batch: TrainingBatch) -> tuple[Judgement, torch.Tensor]:
        """What the judge says, and how it wants latents not to change: its gradient, ``[B, z, F_lat, h, w]``.

        Scaled so that the middle one of this process's clips has a length of 1, whatever the judge's loss is like, and
        none is longer, as one that is badly wrong would drown the others.
        """
        latents = latents.detach().requires_grad_()
        judgement = self._judged(latents, batch)
        (gradient,) = torch.autograd.grad(judgement.loss.sum(), latents)
        sizes = gradient.flatten(1).norm(dim=1)
        judged = sizes[sizes > 0]
        if len(judged):
            gradient = gradient / sizes.clamp(min=judged.median()).view(-1, 1, 1, 1, 1)
        return judgement, gradient

    @torch.no_grad()
    def validate(self, module: torch.nn.Module) -> dict[str, float]:
        """See `DenoisingTask.validate`; and ``validation/judge`` and ``validation/judge/right`` of shots from noise."""
        figures = super().validate(module)
        config = self.stage.validation
        count = min(config.num_memory, self.stage.conditioning.max_memory)
        table = self.store.table_of(self.store.held_out)
        plans = [right for right, _ in held_out_plans(table, config.clips, count, self.stage.seed)]
        size = max(1, self.stage.batch_size // self.stage.accumulate // self.accelerator.num_processes)
        losses, shares = [], []
        for start in range(0, len(plans), size):
            batch = self.store.gather(BatchPlan(count, tuple(plans[start : start + size])), self.accelerator.device)
            conditions = conditions_of(batch, self.geometry, self.stage.conditioning.memory_stride)
            made = self._make(module, batch, self._text(batch.prompts), conditions)
            judgement = self._judged(made.latents, batch)
            losses.append(judgement.loss)
            shares.append(judgement.right)
        figures["validation/judge"] = float(torch.cat(losses).mean())
        figures["validation/judge/right"] = float(torch.cat(shares).nanmean())
        return figures
