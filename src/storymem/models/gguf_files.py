"""GGUF files: ComfyUI's way to ship transformers in 2 to 8 bits per weight.

The weights can stay quantized in memory (diffusers' `GGUFLinear` expands each one while it is used), which is why
people choose such files, or be expanded once while loading, which allows LoRAs to be merged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from storymem.errors import CheckpointError, MissingExtraError
from storymem.models.weights import RenamedSource, TensorInfo, WeightSource

if TYPE_CHECKING:
    from diffusers.quantizers.gguf.utils import GGUFParameter

__all__ = ["GgufSource", "keep_quantized"]

_PLAIN = ("F32", "F16", "BF16", "F64")
# ComfyUI-GGUF notes the shape of a tensor that had to be reshaped to be quantized.
_SHAPE_NOTE = "comfy.gguf.orig_shape."


class GgufSource(WeightSource):
    """One `.gguf` file; `read` expands quantized tensors to float32.

    Raises:
        CheckpointError: the file is damaged.
        MissingExtraError: the package `gguf` is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            from gguf import GGUFReader
        except ImportError as error:
            raise MissingExtraError("gguf", "gguf", "read GGUF files") from error
        self.path = path
        self.files = (path,)
        try:
            reader = GGUFReader(path)
        except (ValueError, OSError, IndexError, KeyError) as error:
            raise CheckpointError(
                f"{path}: not a whole GGUF file ({error}); it may be cut short: download it again."
            ) from error
        self._tensors: dict[str, Any] = {tensor.name: tensor for tensor in reader.tensors}
        shapes: dict[str, tuple[int, ...]] = {}
        for name, tensor in self._tensors.items():
            note = reader.get_field(_SHAPE_NOTE + name)
            # GGUF counts dimensions from the fastest, PyTorch from the slowest.
            shape = note.contents() if note is not None else reversed(tensor.shape.tolist())
            shapes[name] = tuple(int(size) for size in shape)
        self.infos = {name: TensorInfo(shapes[name], t.tensor_type.name) for name, t in self._tensors.items()}

    def read(self, name: str) -> torch.Tensor:
        """See `WeightSource.read`."""
        import numpy as np
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        if tensor.tensor_type.name in ("F32", "F16", "F64"):
            plain = torch.from_numpy(np.array(tensor.data))
        else:
            try:
                plain = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type)))
            except NotImplementedError as error:
                raise CheckpointError(
                    f"{self.path}: {name} is quantized as {tensor.tensor_type.name}, which cannot be expanded."
                ) from error
        return plain.reshape(self.infos[name].shape)

    def read_quantized(self, name: str) -> GGUFParameter | None:
        """The tensor as it lies in the file, for a `GGUFLinear`; None if diffusers cannot keep it quantized."""
        import numpy as np
        from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES, GGUFParameter

        tensor = self._tensors[name]
        kind = tensor.tensor_type
        as_it_lies = tuple(reversed(tensor.shape.tolist())) == self.infos[name].shape
        if kind.name in _PLAIN or kind not in SUPPORTED_GGUF_QUANT_TYPES or not as_it_lies:
            return None
        return GGUFParameter(torch.from_numpy(np.array(tensor.data)), quant_type=kind)


def keep_quantized(
    model: torch.nn.Module, source: WeightSource, *, dtype: torch.dtype, device: torch.device | str, skip: set[str]
) -> dict[str, torch.nn.Parameter]:
    """Replace the linear layers of an empty module that a GGUF file has quantized by diffusers' `GGUFLinear`.

    Args:
        model: from `storymem.models.build.make_empty`; changed in place.
        source: a `RenamedSource` over a `GgufSource`.
        dtype: type that the layers compute in.
        device: where the weights go.
        skip: names of modules that stay in float32.

    Returns:
        parameter name → quantized weight, already in its layer.
    """
    from accelerate import init_empty_weights
    from diffusers.quantizers.gguf.utils import GGUFLinear

    assert isinstance(source, RenamedSource)
    assert isinstance(source.source, GgufSource)
    kept: dict[str, torch.nn.Parameter] = {}
    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    for name, linear in linears:
        if skip.intersection(name.split(".")):
            continue
        weight = source.source.read_quantized(source.original[f"{name}.weight"])
        if weight is None:
            continue
        with init_empty_weights():
            layer = GGUFLinear(linear.in_features, linear.out_features, linear.bias is not None, compute_dtype=dtype)
        layer.register_parameter("weight", weight.to(device))
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, layer)
        kept[f"{name}.weight"] = layer.weight
    return kept
