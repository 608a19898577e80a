"""Guidance put into weights: what a model says in two or three calls under guidance, taught to itself in one.

Guidance distillation (arXiv 2210.03142, section 3.1) at one fixed strength. The teacher is the model as it is: under a
LoRA the frozen weights themselves, so nothing more is held in memory; where all weights are trained, a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING

import torch

from storymem.training.text import Text

if TYPE_CHECKING:
    from storymem.training.networks import Denoiser
    from storymem.training.reward import ExpertPair
    from storymem.training.sections import DistilSection
    from storymem.training.text import PromptCache

__all__ = ["GuidedTeacher"]


class GuidedTeacher:
    """What a model says under guidance, computed as the pipeline does.

    Args:
        config: how strongly it is guided.
        prompts: embeddings of the negative prompt.
        denoiser: as it is before it is trained.
        apart: keep a copy, because the denoiser's own weights will change; else they stay, under a LoRA.
        device: where the copy computes; None: where the denoiser is now.
    """

    def __init__(
        self,
        config: DistilSection,
        prompts: PromptCache,
        denoiser: Denoiser | ExpertPair,
        *,
        apart: bool,
        device: torch.device | None = None,
    ) -> None:
        self.config = config
        self._prompts = prompts
        self._denoiser = None if apart else denoiser  # which may be nobody else's, and would stay in memory
        # A copy moves by itself: the denoiser goes to the accelerator only when its training begins.
        self._copy = deepcopy(denoiser).requires_grad_(False).eval().to(device) if apart else None

    @property
    def own(self) -> Sequence[torch.nn.Module]:
        """The networks that it has for itself: the copy, if there is one."""
        return () if self._copy is None else (self._copy,)

    @torch.no_grad()
    def velocity(
        self,
        module: torch.nn.Module,
        states: torch.Tensor,
        level: torch.Tensor,
        text: Text,
        positions: tuple[int, ...],
        num_memory: int,
        kept: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The guided velocity of the clip's own latents, float32 ``[B, z, F_lat, h, w]``.

        With `kept` that of those tokens, ``[B, K, p_t * p_h * p_w * z]``.

        Args:
            module: the denoiser as it is trained, wrapped or not.
            states: its input, see `Denoiser.forward`.
            level: likewise.
            text: embeddings of the prompts.
            positions: temporal positions of memory and clip.
            num_memory: M.
            kept: the tokens that are computed, as numbers in the whole sequence and, without the memory's, in the clip.
        """
        with self._teaching(module) as teacher:

            def say(text: Text) -> torch.Tensor:
                out = teacher(states, level, text, positions, None if kept is None else kept[0])
                velocity: torch.Tensor = out[0].float()
                if kept is not None:
                    return velocity[:, kept[0].shape[1] - kept[1].shape[1] :]
                return velocity[:, :, num_memory:]

            cond = guided = say(text)
            if self.config.guidance_scale > 1:
                uncond = say(Text(self._prompts([self.config.negative_prompt] * len(states))))
                guided = uncond + self.config.guidance_scale * (cond - uncond)
            if self.config.memory_guidance_scale > 1 and num_memory:  # the same clip as if nothing were remembered
                own, places = states[:, :, num_memory:], positions[num_memory:]
                alone = teacher(own, level, text, places, None if kept is None else kept[1])[0].float()
                guided = guided + (self.config.memory_guidance_scale - 1) * (cond - alone)
        return guided

    @contextmanager
    def _teaching(self, module: torch.nn.Module) -> Iterator[torch.nn.Module]:
        """The model as it was."""
        if self._denoiser is None:
            assert self._copy is not None
            yield self._copy
            return
        self._denoiser.transformer.disable_adapters()
        try:
            yield module
        finally:
            self._denoiser.transformer.enable_adapters()
