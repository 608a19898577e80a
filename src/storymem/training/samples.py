"""Sample sheets: what the model makes of held-out clips, beside the memory it was given and the clip itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from storymem.media import to_uint8
from storymem.settings import SamplingConfig
from storymem.training.denoise import Geometry, conditions_of
from storymem.training.footage import read_settings
from storymem.training.plan import BatchPlan, held_out_plans

if TYPE_CHECKING:
    from storymem.pipeline import StoryMemPipeline
    from storymem.training.config import BaseStage, MemoryStage
    from storymem.training.store import ClipStore

__all__ = ["draw_sheet", "lora_sampling_of", "sampling_of"]


def sampling_of(stage: BaseStage | MemoryStage, geometry: Geometry) -> dict[str, Any]:
    """Fields of `SamplingConfig`: how sample sheets are made, and films with the model if nothing else is said."""
    sampling = {
        "width": geometry.width,
        "height": geometry.height,
        "num_frames": geometry.num_frames,
        "num_inference_steps": stage.sample.num_inference_steps,
        "shift": stage.noise.shift,
        "guidance_scale": 1.0 if stage.is_one_call else stage.sample.guidance_scale,
        "memory_stride": stage.conditioning.memory_stride,
    }
    if stage.data.folder is not None:  # worlds are drawn at the rate that is the default
        sampling["fps"] = read_settings(stage.data.folder).fps
    blank = stage.conditioning.blank
    return sampling if blank == "zeros" else {**sampling, "blank": blank}


def lora_sampling_of(stage: MemoryStage) -> dict[str, Any]:
    """Fields of `SamplingConfig` that go with a LoRA, whatever it is laid over."""
    sampling: dict[str, Any] = {"memory_stride": stage.conditioning.memory_stride}
    if stage.is_one_call:
        sampling |= {"guidance_scale": 1.0, "memory_guidance_scale": 1.0}
    if stage.conditioning.blank != "zeros":  # a model that says nothing of it is sampled with zeros
        sampling["blank"] = stage.conditioning.blank
    return sampling


def draw_sheet(
    pipe: StoryMemPipeline,
    store: ClipStore,
    stage: BaseStage | MemoryStage,
    geometry: Geometry,
    embed: Callable[[Sequence[str]], torch.Tensor] | None = None,
) -> Any:
    """Sample held-out clips and put them on one picture: uint8 ``[H, W, 3]``.

    One row per clip: the memory frames, then first, middle and last frame of what was made, then those of the clip.

    Args:
        pipe: with the weights of the moment.
        store: the clips.
        stage: the configuration.
        geometry: sizes of the clips.
        embed: embeddings of prompts; None has the pipeline embed them.
    """
    config = stage.sample
    num_memory = min(config.num_memory, stage.conditioning.max_memory)
    sampling = SamplingConfig(**sampling_of(stage, geometry))
    rows = []
    for plan, _ in held_out_plans(store.table_of(store.held_out), config.count, num_memory, stage.seed):
        batch = store.gather(BatchPlan(num_memory, (plan,)), "cpu")
        (condition,) = conditions_of(batch, geometry, stage.conditioning.memory_stride)
        prompt = batch.prompts[0]
        text: dict[str, Any] = {"prompt": prompt}
        if embed is not None:
            both = embed([prompt, ""])
            text = {"prompt_embeds": both[:1], "negative_prompt_embeds": both[1:]}
        made = pipe(
            **text,
            condition=condition,
            sampling=sampling,
            generator=torch.Generator().manual_seed(plan.noise_seed),
            output_type="raw",
        ).frames
        truth = pipe.codec.decode(batch.latents)[0].cpu()
        memory = [] if batch.memory is None else list(batch.memory[0].transpose(0, 1))
        frames = [pipe.codec.decode(latent[None, :, None])[0, :, 0].cpu() for latent in memory]
        rows.append(torch.cat([*frames, *_three(made), *_three(truth)], dim=2))
    return to_uint8(np.asarray(torch.cat(rows, dim=1).clamp(-1, 1).numpy()))


def _three(video: torch.Tensor) -> list[torch.Tensor]:
    count = video.shape[1]
    return [video[:, i] for i in (0, count // 2, count - 1)]
