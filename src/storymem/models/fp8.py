"""Weights stored as 8-bit floats with a scale per tensor, as ComfyUI ships them.

Two spellings of the same thing are in use: a tensor ``scaled_fp8`` in the file and ``X.scale_weight`` beside each
``X.weight``, and, newer, ``X.weight_scale``, with ``X.comfy_quant`` or a note in the header that names the format. The
scales of activations (``scale_input``, ``input_scale``) only matter to fp8 arithmetic. The weight is the product.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod

import torch

from storymem.errors import CheckpointError
from storymem.models.weights import TensorInfo, WeightSource

__all__ = ["ScaledFp8Source", "is_scaled_fp8"]

_SCALES = (".scale_weight", ".weight_scale")
_UNUSED = (".scale_input", ".input_scale")


def is_scaled_fp8(source: WeightSource) -> bool:
    """Whether the weights of `source` have to be multiplied with scales."""
    return any(name.endswith(("scaled_fp8", *_SCALES)) for name in source.infos)


class ScaledFp8Source(WeightSource):
    """The weights multiplied out, as bfloat16; the tensors that only serve the storage are not shown.

    Raises:
        CheckpointError: the file uses another quantization, or a scale has no weight.
    """

    def __init__(self, source: WeightSource) -> None:
        self.path = source.path
        self.files = source.files
        self._source = source
        self._scales: dict[str, str] = {}
        infos: dict[str, TensorInfo] = {}
        for name, info in source.infos.items():
            scale_of = next((name.removesuffix(end) for end in _SCALES if name.endswith(end)), None)
            if scale_of is not None:
                self._add_scale(f"{scale_of}.weight", name, info)
            elif name.endswith(".comfy_quant"):
                self._check_format(name)
            elif not name.endswith(("scaled_fp8", *_UNUSED)):
                infos[name] = info
        self.infos: Mapping[str, TensorInfo] = infos

    def _add_scale(self, weight: str, name: str, info: TensorInfo) -> None:
        if weight not in self._source.infos:
            raise CheckpointError(f"{self.path}: {name} scales {weight}, which is not there.")
        scaled = self._source.infos[weight]
        if not any(kind in scaled.dtype.lower() for kind in ("f8_e4m3", "f8_e5m2", "float8_e4m3", "float8_e5m2")):
            raise CheckpointError(
                f"{self.path}: {weight} is quantized as {scaled.dtype}; of ComfyUI's quantizations only fp8 is read."
            )
        if prod(info.shape) not in (1, scaled.shape[0]):
            raise CheckpointError(
                f"{self.path}: {name} has shape {list(info.shape)}; one scale per tensor or per row is read."
            )
        self._scales[weight] = name

    def _check_format(self, name: str) -> None:
        raw = bytes(self._source.read(name).to(torch.uint8).tolist())
        try:
            kind = json.loads(raw)["format"]
        except (ValueError, KeyError, TypeError):
            kind = raw.decode("utf-8", "replace")
        if kind not in ("float8_e4m3fn", "float8_e5m2"):
            raise CheckpointError(
                f"{self.path}: {name} says {kind!r}; of ComfyUI's quantizations only scaled fp8 is read."
            )

    def read(self, name: str) -> torch.Tensor:
        """See `WeightSource.read`."""
        tensor = self._source.read(name)
        if name not in self._scales:
            return tensor
        scale = self._source.read(self._scales[name]).to(torch.float32).reshape(-1, *[1] * (tensor.ndim - 1))
        return (tensor.to(torch.float32) * scale).to(torch.bfloat16)
