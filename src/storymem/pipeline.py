"""`StoryMemPipeline`: one shot in, frames out. A diffusers pipeline with a memory.

It extends diffusers' Wan image-to-video pipeline, so loading, saving, offload, quantization, attention backends and
caching hooks are diffusers' own. What is added: memory latents in front of the shot's, their negative temporal
positions, and known first frames of any number, all carried by one `ShotCondition`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

from storymem.conditioning.codec import LatentCodec
from storymem.conditioning.condition import ShotCondition, encode_condition
from storymem.conditioning.layout import check_tokens
from storymem.conditioning.rope import install_memory_rope
from storymem.errors import ModelError, SettingsError
from storymem.guidance import Guidance
from storymem.media import resize_frame
from storymem.sampling import make_scheduler
from storymem.settings import MAX_TEXT_TOKENS, SamplingConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from storymem.models.checkpoints import Components

    Frame = Image.Image | NDArray[Any] | torch.Tensor

__all__ = ["StoryMemPipeline", "StoryMemPipelineOutput", "boundary_of", "text_length"]

_log = logging.getLogger(__name__)
DEFAULT_BOUNDARY_RATIO = 0.9
OUTPUT_TYPES = ("raw", "latent", "np", "pt", "pil")


def boundary_of(sampling: SamplingConfig, ratio: float | None) -> float:
    """The noise level at and above which the first of two experts works.

    Args:
        sampling: says it, or leaves it to the model.
        ratio: the model's, if it has one.
    """
    said = (sampling.boundary_ratio, ratio, DEFAULT_BOUNDARY_RATIO)
    return float(next(level for level in said if level is not None))


def text_length(tokenizer: Any) -> int:
    """Tokens that a prompt is padded or cut to: Wan's 512, or fewer if the tokenizer's model takes fewer."""
    return min(MAX_TEXT_TOKENS, int(tokenizer.model_max_length))


@dataclass
class StoryMemPipelineOutput(BaseOutput):  # type: ignore[misc]  # diffusers is untyped
    """What a call returns.

    Attributes:
        frames: by `output_type`: ``raw`` a float32 tensor ``[3, F, H, W]`` in [-1, 1], as decoded; ``latent`` None;
            ``np``, ``pt``, ``pil`` as diffusers' Wan pipelines return them (a batch of one video).
        latents: ``[1, z, M + F_lat, h, w]`` after the last step, memory slots included, float32.
        condition: what the shot was conditioned on.
    """

    frames: Any
    latents: torch.Tensor
    condition: ShotCondition


class StoryMemPipeline(WanImageToVideoPipeline):  # type: ignore[misc]
    """Makes one shot of a film: text-to-video, and with memory or given first frames, in one `__call__`.

    Components are those of `WanImageToVideoPipeline` (tokenizer, text_encoder, vae, scheduler, transformer and the
    optional transformer_2). The scheduler that a checkpoint carries is not used: a shot's `SamplingConfig` says
    which solver and which schedule, so that two shots never share a solver's state.
    """

    # diffusers reads the names of the components off this signature.
    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        vae: Any,
        scheduler: Any,
        image_processor: Any = None,
        image_encoder: Any = None,
        transformer: Any = None,
        transformer_2: Any = None,
        boundary_ratio: float | None = None,
        expand_timesteps: bool = False,
    ) -> None:
        super().__init__(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            vae=vae,
            scheduler=scheduler,
            image_processor=image_processor,
            image_encoder=image_encoder,
            transformer=transformer,
            transformer_2=transformer_2,
            boundary_ratio=boundary_ratio,
            expand_timesteps=expand_timesteps,
        )
        for expert in (transformer, transformer_2):
            if expert is not None:
                _refuse_image_embeddings(expert)
                install_memory_rope(expert)  # now: hooks that are put on it later, such as those that shard it, stay
        self._codec: LatentCodec | None = None
        self._prompt_cache: OrderedDict[tuple[int, str], torch.Tensor] = OrderedDict()

    @classmethod
    def from_components(cls, components: Components) -> StoryMemPipeline:
        """A pipeline of what `storymem.models.checkpoints.load_components` read, from whatever format.

        Raises:
            ModelError: a component is missing, or wants what this pipeline does not give.
        """
        parts = {
            name: getattr(components, name)
            for name in ("tokenizer", "text_encoder", "vae", "transformer", "transformer_2")
        }
        missing = [name for name, part in parts.items() if part is None and name != "transformer_2"]
        if missing:
            raise ModelError(f"a pipeline needs {', '.join(missing)}: load the whole model.")
        scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
        return cls(**parts, scheduler=scheduler, boundary_ratio=components.boundary_ratio)

    @property
    def codec(self) -> LatentCodec:
        """The VAE with its caches."""
        if self._codec is None or self._codec.vae is not self.vae:
            self._codec = LatentCodec(self.vae)
        return self._codec

    @torch.no_grad()
    def embed_text(self, text: str) -> torch.Tensor:
        """UMT5 embeddings ``[1, 512, D]`` (see `text_length`) of a cleaned text, zero-padded; a few are remembered.

        What is too long is cut, and a warning says what was.
        """
        key = (id(self.text_encoder), text)
        if key not in self._prompt_cache:
            self._warn_of_cut(text)
            embeds = self._get_t5_prompt_embeds(
                text, max_sequence_length=text_length(self.tokenizer), device=self._execution_device
            )
            self._prompt_cache[key] = embeds.cpu()
            while len(self._prompt_cache) > 16:
                self._prompt_cache.popitem(last=False)
        self._prompt_cache.move_to_end(key)
        return self._prompt_cache[key].to(self._execution_device)

    def _warn_of_cut(self, text: str) -> None:
        limit = text_length(self.tokenizer)
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        if len(ids) >= limit:  # the last place is for the end mark
            lost = self.tokenizer.decode(ids[limit - 1 :]).strip()
            shown = lost if len(lost) <= 100 else lost[:100] + "..."
            _log.warning("The model reads %d tokens of a prompt; this is left out: %r", limit, shown)

    def encode_condition(
        self,
        sampling: SamplingConfig,
        memory: Sequence[Frame] = (),
        known_frames: Sequence[Frame] | NDArray[Any] | torch.Tensor = (),
    ) -> ShotCondition:
        """Encode memory and known first frames for a shot.

        Args:
            sampling: size, length and memory stride of the shot.
            memory: keyframes, oldest first: PIL images, or arrays ``[3, H, W]`` in [-1, 1]. Another size than the
                shot's is scaled to cover it and cut to its centre.
            known_frames: the frames the shot begins with, in order, in the same forms.
        """
        known = [_pixels(frame, sampling) for frame in known_frames]
        return encode_condition(
            self.codec,
            num_frames=sampling.num_frames,
            height=sampling.height,
            width=sampling.width,
            memory=[_pixels(frame, sampling) for frame in memory],
            known=torch.stack(known, dim=1) if known else None,
            stride=sampling.memory_stride,
            device=self._execution_device,
            blank=sampling.blank,
        )

    @torch.no_grad()
    def __call__(  # noqa: PLR0912, PLR0915 - the whole way of a shot, on one page
        self,
        prompt: str | None = None,
        *,
        negative_prompt: str = "",
        memory: Sequence[Frame] = (),
        known_frames: Sequence[Frame] | NDArray[Any] | torch.Tensor = (),
        condition: ShotCondition | None = None,
        sampling: SamplingConfig | None = None,
        generator: torch.Generator | None = None,
        latents: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        output_type: str = "np",
        callback_on_step_end: Callable[[Any, int, torch.Tensor, dict[str, torch.Tensor]], dict[str, torch.Tensor]]
        | None = None,
    ) -> StoryMemPipelineOutput:
        """Make one shot.

        Args:
            prompt: what happens in the shot; or give `prompt_embeds`.
            negative_prompt: what should not be seen; used where guidance is above 1.
            memory: keyframes (see `encode_condition`). None and no known frames is text-to-video.
            known_frames: the shot's first frames: one (MI2V) or five (MM2V) of the shot it continues.
            condition: an encoded condition, in place of `memory` and `known_frames`.
            sampling: size, length, steps, guidance; the method's defaults if not given.
            generator: source of the noise; a CPU generator gives the same noise on every device.
            latents: the noise itself, ``[1, z, M + F_lat, h, w]``.
            prompt_embeds: ``[1, tokens, D]``.
            negative_prompt_embeds: ``[1, tokens, D]``.
            output_type: see `StoryMemPipelineOutput`.
            callback_on_step_end: called as in diffusers after each step, with ``{"latents": latents}``; what it
                returns under that name goes on.

        Raises:
            SettingsError: arguments that contradict each other or do not fit the model.
        """
        sampling = sampling or SamplingConfig()

        # 1. Check inputs
        if (prompt is None) == (prompt_embeds is None):
            raise SettingsError("give either prompt or prompt_embeds, and not both.")
        if output_type not in OUTPUT_TYPES:
            raise SettingsError(f"output_type is {output_type!r}; it must be one of {', '.join(OUTPUT_TYPES)}.")
        if condition is not None and (len(memory) or len(known_frames)):
            raise SettingsError("give either a condition or memory and known_frames, and not both.")
        size = sampling if condition is None else condition.layout
        check_tokens(size.height, size.width, self.codec.spatial_factor, self.transformer.config.patch_size)
        device = self._execution_device
        dtype = self.transformer.dtype
        guidance = sampling.guidance_scale
        guidance_2 = guidance if sampling.guidance_scale_2 is None else sampling.guidance_scale_2
        self._guidance_scale, self._guidance_scale_2 = guidance, guidance_2
        guided = guidance > 1 or (self.transformer_2 is not None and guidance_2 > 1)
        self._interrupt = False

        # 2. Encode the prompts
        if prompt_embeds is None:
            prompt_embeds = self.embed_text(cast(str, prompt))
        if guided and negative_prompt_embeds is None:
            negative_prompt_embeds = self.embed_text(negative_prompt)
        prompt_embeds = prompt_embeds.to(device, dtype)
        if negative_prompt_embeds is not None:
            negative_prompt_embeds = negative_prompt_embeds.to(device, dtype)

        # 3. Encode memory and known frames
        if condition is None:
            condition = self.encode_condition(sampling, memory, known_frames)
        channels = condition.channels(self.transformer.config.in_channels, device, dtype)
        predict = Guidance(sampling, condition, prompt_embeds, negative_prompt_embeds).velocity

        # 4. Prepare the schedule
        scheduler = make_scheduler(sampling, device)
        timesteps = scheduler.timesteps
        self._num_timesteps = len(timesteps)
        boundary = self._boundary_timestep(sampling)

        # 5. Draw the noise, for the memory slots too: they are denoised along and thrown away
        shape = condition.layout.latents_shape(self.vae.config.z_dim)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        elif tuple(latents.shape) != shape:
            raise SettingsError(f"latents have the shape {tuple(latents.shape)}; this shot needs {shape}.")
        latents = latents.to(device, torch.float32)

        # 6. Denoise
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for i, t in enumerate(timesteps):
                if self.interrupt:
                    continue
                self._current_timestep = t
                high_noise = boundary is None or t >= boundary
                transformer = self.transformer if high_noise else self.transformer_2
                states = latents.to(dtype) if channels is None else torch.cat([latents.to(dtype), channels], dim=1)
                scale = guidance if high_noise else guidance_2
                velocity = predict(transformer, states, t, scale)
                latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
                if callback_on_step_end is not None:
                    latents = callback_on_step_end(self, i, t, {"latents": latents}).pop("latents", latents)
                progress_bar.update()
        self._current_timestep = None

        # 7. Decode the shot, without the memory
        frames: Any = None
        if output_type != "latent":
            video = self.codec.decode(condition.video(latents), device)
            if output_type == "raw":
                frames = video[0].cpu()
            else:
                frames = self.video_processor.postprocess_video(video, output_type=output_type)

        self.maybe_free_model_hooks()
        return StoryMemPipelineOutput(frames=frames, latents=latents, condition=condition)

    def _boundary_timestep(self, sampling: SamplingConfig) -> float | None:
        """The timestep at and above which `transformer` works; None where there is no second expert."""
        if self.transformer_2 is None:
            return None
        return boundary_of(sampling, self.config.boundary_ratio) * 1000


def _refuse_image_embeddings(transformer: Any) -> None:
    if transformer.config.image_dim is not None:
        raise ModelError(
            f"the transformer wants a picture's CLIP embeddings (image_dim {transformer.config.image_dim}), as that of "
            "Wan2.1-I2V does: use one that knows the picture by its latents alone, such as Wan2.2-I2V-A14B."
        )


def _pixels(frame: Frame, sampling: SamplingConfig) -> torch.Tensor:
    """One frame of any accepted form as float32 ``[3, H, W]`` in [-1, 1] at the shot's size."""
    if isinstance(frame, torch.Tensor):
        array = frame.detach().cpu().float().numpy()
    elif isinstance(frame, np.ndarray):
        array = np.asarray(frame, dtype=np.float32)
    else:
        array = np.asarray(frame.convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1.0
    if array.ndim != 3 or array.shape[0] != 3:
        raise SettingsError(f"a conditioning frame has the shape {array.shape}; it must be [3, H, W] in [-1, 1].")
    return torch.from_numpy(np.array(resize_frame(array, sampling.width, sampling.height), dtype=np.float32))
