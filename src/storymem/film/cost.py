"""How long shots will take on this machine, before any was made: counted work over measured speed.

An estimate for planning, not a promise: small models are slower than their work says (starting each operation costs
more than doing it), and offloading is not in it. Once a shot is made, its own pace is the better guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt, prod
from time import perf_counter
from typing import TYPE_CHECKING

from storymem.conditioning.layout import SPATIAL_FACTOR, VideoLayout, check_tokens

if TYPE_CHECKING:
    import torch

    from storymem.film.pipeline_maker import ModelChoice
    from storymem.models.weights import TensorInfo
    from storymem.settings import SamplingConfig

__all__ = ["Work", "measure_speed", "work_of"]

# Operations of decoding one pixel, per weight of the VAE: 275 TFLOP for 81 frames of 832x480 with 127 million weights,
# counted by benchmarks/shot.py. Of a VAE that folds blocks of pixels into channels, one block.
_DECODE = 275e12 / (81 * 832 * 480) / 127e6
# Share of its matrix speed that a transformer of this kind reaches.
_EFFICIENCY = 0.5


@dataclass(frozen=True, slots=True)
class Work:
    """What the operations of a shot depend on, read off the files' headers.

    Attributes:
        weights: of one expert's transformer.
        width: of its residual stream.
        layers: its blocks.
        vae_weights: of the VAE.
        patch: ``(p_t, p_h, p_w)``, the latent pixels of a token.
        vae_patch: the VAE folds blocks of so many by so many pixels into channels.
        spatial_factor: pixels per latent pixel, in each direction.
    """

    weights: int
    width: int
    layers: int
    vae_weights: int
    patch: tuple[int, int, int] = (1, 2, 2)
    vae_patch: int = 1
    spatial_factor: int = SPATIAL_FACTOR

    def operations(self, sampling: SamplingConfig, num_memory: int) -> float:
        """Floating-point operations of one shot.

        Two per weight and token, and four per pair of tokens, channel and layer for attention, for each step and
        guidance branch (as in arXiv 2001.08361, section 2.1, forward only); and the decoding.

        Raises:
            SettingsError: the model cannot make pictures of this size.
        """
        height, width, factor = sampling.height, sampling.width, self.spatial_factor
        layout = VideoLayout(sampling.num_frames, height, width, num_memory=num_memory, spatial_factor=factor)
        check_tokens(height, width, factor, self.patch)
        tokens = layout.num_tokens(self.patch)
        once, guidance = self._forward(tokens), 0.0
        if sampling.guidance_scale > 1 or (sampling.guidance_scale_2 or 1) > 1:
            guidance += once
        if num_memory and sampling.memory_guidance_scale > 1:
            guidance += self._forward(replace(layout, num_memory=0).num_tokens(self.patch))
        step = once + guidance / sampling.guidance_every
        blocks = sampling.num_frames * width * height / self.vae_patch**2
        return step * sampling.num_inference_steps + _DECODE * self.vae_weights * blocks

    def _forward(self, tokens: int) -> float:
        return 2.0 * self.weights * tokens + 4.0 * tokens**2 * self.width * self.layers


def work_of(choice: ModelChoice) -> Work:
    """Read a model's sizes off its files' headers; no weight is read.

    Raises:
        ModelError: a part is missing or unreadable.
    """
    from storymem.models.layouts import find_model
    from storymem.models.weights import open_weights

    parts = find_model(choice.folder, files=choice.files).parts
    infos = open_weights(parts["transformer"].path).infos
    shapes = {name: info.shape for name, info in infos.items()}
    vae = {name: info.shape for name, info in open_weights(parts["vae"].path).infos.items()}
    blocks = [int(found.group(1)) for name in shapes if (found := re.search(r"blocks\.(\d+)\.", name))]
    kernel = _kernel(infos)
    # Quantized files may hold it flat; then it is Wan's.
    patch = (kernel[2], kernel[3], kernel[4]) if len(kernel) == 5 else (1, 2, 2)
    vae_patch, halvings = _folded(vae)
    depth = max(blocks, default=-1) + 1
    return Work(_count(shapes), kernel[0], depth, _count(vae), patch, vae_patch, vae_patch * 2**halvings)


def blind_experts(choice: ModelChoice) -> tuple[list[str], int]:
    """Which of a model's transformers have no room for memory and given frames beside the noise, and how many it has.

    Those of text-to-video models have as many input channels as the VAE has latent ones. Of quantized files that do not
    tell, it is not known.

    Raises:
        ModelError: a part is missing or unreadable.
    """
    from storymem.models.layouts import find_model
    from storymem.models.weights import open_weights

    parts = find_model(choice.folder, files=choice.files).parts
    latent = _latent_channels({name: info.shape for name, info in open_weights(parts["vae"].path).infos.items()})
    experts = [name for name in ("transformer", "transformer_2") if name in parts]
    kernels = {name: _kernel(open_weights(parts[name].path).infos) for name in experts}
    return [name for name, kernel in kernels.items() if len(kernel) == 5 and kernel[1] == latent], len(experts)


def _kernel(infos: Mapping[str, TensorInfo]) -> tuple[int, ...]:
    """The shape of what makes tokens of the input; ``(0,)`` of a file without it."""
    return next((info.shape for name, info in infos.items() if name.endswith("patch_embedding.weight")), (0,))


def _latent_channels(vae: Mapping[str, tuple[int, ...]]) -> int | None:
    """What the decoder takes; None of a VAE that is written otherwise."""
    first = ("decoder.conv_in.weight", "decoder.conv1.weight")  # of diffusers' layout and of the original one
    return next((shape[1] for name, shape in vae.items() if name in first), None)


def _folded(vae: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Pixels on a side of the blocks that a VAE folds into channels, and how often its encoder halves the picture."""
    first = ("encoder.conv_in.weight", "encoder.conv1.weight")  # of diffusers' layout and of the original one
    channels = next((shape[1] for name, shape in vae.items() if name in first), 3)
    halvings = sum(bool(re.fullmatch(r"encoder\..+\.resample\.1\.weight", name)) for name in vae)
    return isqrt(channels // 3), halvings


def _count(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(prod(shape) for shape in shapes.values())


def measure_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second that can be expected of this device: a matrix product, timed, with a discount."""
    import torch

    side = 4096 if device.type == "cuda" else 768
    a = torch.randn(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):  # the first is the warm-up
        begun = perf_counter()
        product = a @ a
        product[0, 0].item()  # waits for the device
        best = min(best, perf_counter() - begun)
    return 2.0 * side**3 / best * _EFFICIENCY
