"""What the transformer says at a step, led by the prompt and by the memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch

from storymem.conditioning.condition import ShotCondition
from storymem.conditioning.rope import use_positions
from storymem.settings import SamplingConfig

__all__ = ["Guidance"]


@dataclass
class Guidance:
    """Predicts velocities, one step after another, of one shot.

    With guidance by the prompt (arXiv 2207.12598) and by the memory (as arXiv 2211.09800 has it for a picture) a step
    asks the transformer two or three times: as it is, without the prompt, without the memory. What the others differ in
    from the first changes slowly from step to step (arXiv 2410.19355, section 3.3), so that with
    `SamplingConfig.guidance_every` above 1 the steps between go on with the differences found last. They are found anew
    where the transformer changes.

    Args:
        sampling: scales and how often.
        condition: what the shot sees.
        prompt_embeds: ``[1, tokens, D]``.
        negative_prompt_embeds: likewise; None is without guidance by the prompt.
    """

    sampling: SamplingConfig
    condition: ShotCondition
    prompt_embeds: torch.Tensor
    negative_prompt_embeds: torch.Tensor | None
    _transformer: Any = field(default=None, init=False)
    _since: int = field(default=0, init=False)
    _led: torch.Tensor | None = field(default=None, init=False)

    def velocity(self, transformer: Any, hidden_states: torch.Tensor, t: torch.Tensor, scale: float) -> torch.Tensor:
        """The velocity ``[1, z, M + F_lat, h, w]`` of the next step, float32.

        Args:
            transformer: the expert of this step.
            hidden_states: ``[1, C, M + F_lat, h, w]``, the latents and the condition's channels.
            t: the timestep.
            scale: of the guidance by the prompt; 1 is without it.
        """
        if self._transformer is not transformer or self._since >= self.sampling.guidance_every:
            self._transformer, self._since, self._led = transformer, 0, None
        self._since += 1
        if self._led is not None:
            return self._ask(transformer, "cond", hidden_states, t, self.prompt_embeds) + self._led
        cond, velocity = self._led_by_prompt(transformer, hidden_states, t, scale)
        num_memory = self.condition.layout.num_memory
        if num_memory and self.sampling.memory_guidance_scale > 1:  # the same shot as if nothing were remembered
            video = self.condition.video
            positions = self.condition.positions[num_memory:]
            alone = _forward(transformer, "alone", video(hidden_states), t, self.prompt_embeds, positions)
            led = (self.sampling.memory_guidance_scale - 1) * (video(cond) - alone)
            velocity = torch.cat([velocity[:, :, :num_memory], video(velocity) + led], dim=2)
        if self.sampling.guidance_every > 1:
            self._led = velocity - cond
        return velocity

    def _led_by_prompt(
        self, transformer: Any, hidden_states: torch.Tensor, t: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The velocity as the prompt alone has it, and as guidance by the prompt has it."""
        negative = self.negative_prompt_embeds
        if scale <= 1 or negative is None:
            cond = self._ask(transformer, "cond", hidden_states, t, self.prompt_embeds)
            return cond, cond
        if self.sampling.batch_cfg:
            embeds = torch.cat([self.prompt_embeds, negative])
            both = hidden_states.expand(2, *hidden_states.shape[1:])
            cond, uncond = self._ask(transformer, "cond_uncond", both, t, embeds).chunk(2)
        else:
            cond = self._ask(transformer, "cond", hidden_states, t, self.prompt_embeds)
            uncond = self._ask(transformer, "uncond", hidden_states, t, negative)
        return cond, uncond + scale * (cond - uncond)

    def _ask(
        self, transformer: Any, branch: str, hidden_states: torch.Tensor, t: torch.Tensor, embeds: torch.Tensor
    ) -> torch.Tensor:
        return _forward(transformer, branch, hidden_states, t, embeds, self.condition.positions)


def _forward(
    transformer: Any,
    branch: str,
    hidden_states: torch.Tensor,
    t: torch.Tensor,
    embeds: torch.Tensor,
    positions: tuple[int, ...],
) -> torch.Tensor:
    """One call of a transformer; `branch` keeps what diffusers' hooks cache of each kind of call apart."""
    with use_positions([transformer], positions), transformer.cache_context(branch):
        out = transformer(
            hidden_states=hidden_states,
            timestep=t.expand(hidden_states.shape[0]),
            encoder_hidden_states=embeds,
            return_dict=False,
        )[0]
    # Guidance and solver work in float32, whatever the transformer computes in.
    return cast(torch.Tensor, out).float()
