"""How much memory a model needs, by how it is run. Arithmetic only; nothing heavy is imported here.

Weights are counted; what the computation needs beside them is estimated from the sizes of the tensors that live at once
in one transformer block. The numbers are a guide for choosing a machine, not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from storymem.models.catalog import CATALOG, ModelEntry
from storymem.settings import SamplingConfig

__all__ = ["GIB", "Need", "needs_of", "working_memory"]

GIB = 2**30
Precision = Literal["bf16", "Q8_0", "Q4_K"]
# Bytes per weight of the transformers, block scales included.
_BYTES: dict[Precision, float] = {"bf16": 2.0, "Q8_0": 34 / 32, "Q4_K": 144 / 256}
_SUFFIXES: dict[Precision, str] = {"bf16": "", "Q8_0": " as GGUF Q8_0", "Q4_K": " as GGUF Q4_K"}
_EXPERTS = ("transformer", "transformer_2")
# Wan2.2 A14B: channels, feed-forward channels, blocks.
_DIM, _FFN, _BLOCKS = 5120, 13824, 40
_CUDA_CONTEXT = 0.8 * GIB


@dataclass(frozen=True, slots=True)
class Need:
    """One way of running a model.

    Attributes:
        way: what lies on the GPU, in words.
        option: what to give to the command line for it.
        gpu: bytes of GPU memory; 0 without one.
        ram: bytes of main memory.
    """

    way: str
    option: str
    gpu: float
    ram: float


def working_memory(sampling: SamplingConfig, *, keyframes: int = 10) -> float:
    """Bytes that one forward pass of a 14B expert needs beside its weights, estimated.

    Per token of the sequence (a latent frame has ``height/16 * width/16``): six tensors of `_DIM` and two of the
    feed-forward's width in bfloat16, and three of `_DIM` in float32 (the residual stream around the norms).

    Args:
        sampling: size and length of the shot.
        keyframes: in the memory bank.
    """
    frames = (sampling.num_frames - 1) // 4 + 1 + keyframes
    tokens = frames * (sampling.height // 16) * (sampling.width // 16)
    return tokens * (6 * _DIM * 2 + 2 * _FFN * 2 + 3 * _DIM * 4)


def needs_of(item: ModelEntry, sampling: SamplingConfig) -> list[Need]:
    """The ways to run a model, the fastest first; of a LoRA, those of the model that it goes on, which it runs with.

    Args:
        item: of the catalogue.
        sampling: size and length of a shot.
    """
    if item.kind == "lora":
        assert item.base is not None
        more = _weights(item, "bf16")  # it is merged into the weights before they go to the GPU
        return [replace(need, ram=need.ram + more) for need in needs_of(CATALOG[item.base], sampling)]
    if item.kind in ("encoder", "scorer") or item.repo is None:
        weights = _weights(item, "bf16") + GIB
        return [Need("on the GPU", "--device cuda", weights, weights), Need("on the CPU", "--device cpu", 0.0, weights)]
    work = working_memory(sampling) + _CUDA_CONTEXT
    needs = []
    for precision, suffix in _SUFFIXES.items():
        total, largest = _weights(item, precision), _largest(item, precision)
        needs.append(Need(f"all on the GPU{suffix}", "--offload none", total + work, largest + 4 * GIB))
        needs.append(Need(f"one component on the GPU{suffix}", "--offload model", largest + work, total + 4 * GIB))
    total = _weights(item, "bf16")
    block = _largest(item, "bf16") / _BLOCKS
    stays = _component(item, "vae", "bf16")
    needs.append(Need("layer by layer on the GPU", "--offload group", 2 * block + stays + work, total + 4 * GIB))
    # float32: bfloat16 arithmetic is slow or missing on most CPUs.
    needs.append(Need("on the CPU (hours per shot)", "--device cpu", 0.0, 2 * total + 2 * working_memory(sampling)))
    return needs


def _weights(item: ModelEntry, precision: Precision) -> float:
    return sum(_component(item, name, precision) for name in item.parameters)


def _largest(item: ModelEntry, precision: Precision) -> float:
    return max(_component(item, name, precision) for name in item.parameters)


def _component(item: ModelEntry, name: str, precision: Precision) -> float:
    width = _BYTES[precision] if name in _EXPERTS else 4.0 if name == "vae" else 2.0
    return item.parameters[name] * 1e9 * width
