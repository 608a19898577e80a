"""Files of weights, read one tensor at a time.

A `WeightSource` knows the name, shape and type of every tensor before any of them is read, so that a model can be
checked against a file without loading it, and loaded without ever holding it twice. Everything is memory-mapped where
the format allows it. No pickle is ever run: `.pth` files are read with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open

from storymem.errors import CheckpointError, ModelError
from storymem.models.layouts import read_json, weights_in

__all__ = [
    "PickledSource",
    "RenamedSource",
    "SafetensorsSource",
    "ShardedSource",
    "TensorInfo",
    "WeightSource",
    "open_weights",
]


# Damaged files make torch's unpickler stumble in every way there is.
_STUMBLES: tuple[type[Exception], ...] = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
)
_STUMBLES += (ArithmeticError, struct.error)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a file says about one tensor.

    Attributes:
        shape: in PyTorch's order.
        dtype: its type as the file names it: ``F32``, ``torch.bfloat16``, ``Q8_0``.
    """

    shape: tuple[int, ...]
    dtype: str


class WeightSource(ABC):
    """Tensors of one file (or one set of shards) by name.

    Attributes:
        path: the file that messages name.
        files: every file that tensors come from.
        infos: shape and type of every tensor, in the file's order.
        metadata: what the file says about itself.
    """

    path: Path
    files: tuple[Path, ...]
    infos: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def read(self, name: str) -> torch.Tensor:
        """The tensor called `name`, on the CPU, memory-mapped where the format allows it."""


class SafetensorsSource(WeightSource):
    """One `.safetensors` file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = (path,)
        try:
            self._handle = cast("Any", safe_open(path, framework="pt", device="cpu"))
            slices = {name: self._handle.get_slice(name) for name in self._handle.keys()}  # noqa: SIM118 - no mapping
            self.metadata = dict(self._handle.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path}: not a whole safetensors file ({error}); it may be cut short: download it again."
            ) from error
        self.infos = {name: TensorInfo(tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}

    def read(self, name: str) -> torch.Tensor:
        """See `WeightSource.read`."""
        tensor: torch.Tensor = self._handle.get_tensor(name)
        return tensor


class ShardedSource(WeightSource):
    """Several `.safetensors` files with a ``*.safetensors.index.json`` that says which tensor is where."""

    def __init__(self, index: Path) -> None:
        self.path = index
        self.files = weights_in(index)
        self._home: dict[str, str] = read_json(index)["weight_map"]
        self._shards = {path.name: SafetensorsSource(path) for path in self.files[1:]}
        infos: dict[str, TensorInfo] = {}
        for name, file in self._home.items():
            if name not in self._shards[file].infos:
                raise CheckpointError(
                    f"{index.parent / file}: lacks {name}, which {index.name} says it has; download both."
                )
            infos[name] = self._shards[file].infos[name]
        for file, shard in self._shards.items():
            for name in shard.infos:
                if self._home.get(name) != file:
                    raise CheckpointError(f"{shard.path}: holds {name}, unknown to {index.name}; download both.")
        self.infos = infos

    def read(self, name: str) -> torch.Tensor:
        """See `WeightSource.read`."""
        return self._shards[self._home[name]].read(name)


class PickledSource(WeightSource):
    """A `.pth`, `.pt` or `.bin` file of `torch.save`, read with ``weights_only=True``: tensors only, no code."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = (path,)
        state = self._load(path)
        # Training code wraps the state dict of the model in a dict of its own.
        while len(state) == 1 and isinstance(next(iter(state.values())), dict):
            state = next(iter(state.values()))
        others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
        if others:
            raise CheckpointError(f"{path}: {others[0]!r} is not a tensor; a weights file holds tensors only.")
        self._state: dict[str, torch.Tensor] = {str(name): value for name, value in state.items()}
        self.infos = {name: TensorInfo(tuple(value.shape), str(value.dtype)) for name, value in self._state.items()}

    @staticmethod
    def _load(path: Path) -> dict[Any, Any]:
        try:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap" not in str(error):
                    raise
                # Files older than PyTorch 1.6 are no zip archives and cannot be mapped.
                state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{path}: holds Python objects besides tensors, or is no PyTorch file; it was not opened, because that "
                "could run foreign code: use the .safetensors version of it."
            ) from error
        except _STUMBLES as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error}); it may be cut short: download it again."
            ) from error
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a dictionary of tensors.")
        return state

    def read(self, name: str) -> torch.Tensor:
        """See `WeightSource.read`."""
        return self._state[name]


class RenamedSource(WeightSource):
    """Another source under other names.

    Args:
        source: where the tensors are.
        names: new name → name in `source`; tensors that are not named are left out.
    """

    def __init__(self, source: WeightSource, names: Mapping[str, str]) -> None:
        self.path = source.path
        self.files = source.files
        self.original = dict(names)
        self.source = source
        self.metadata = source.metadata
        self.infos = {new: source.infos[old] for new, old in names.items()}

    def read(self, name: str) -> torch.Tensor:
        """See `WeightSource.read`."""
        return self.source.read(self.original[name])


def open_weights(path: Path) -> WeightSource:
    """Open a file of weights, or the one set of weights in a folder, whatever its format.

    Args:
        path: a `.safetensors`, `.safetensors.index.json`, `.pth`/`.pt`/`.bin` or `.gguf` file, or a folder that holds
            ``diffusion_pytorch_model`` or ``model`` as one file or as shards with an index.

    Raises:
        ModelError: nothing is there, or it is of no known format.
        CheckpointError: the file is damaged, or refused because it could run code.
    """
    if path.is_dir():
        path = weights_in(path)[0]
    if not path.exists():
        raise ModelError(f"{path}: there is no such file.")
    name = path.name.lower()
    if name.endswith(".safetensors.index.json"):
        return ShardedSource(path)
    if name.endswith(".safetensors"):
        return _plain(SafetensorsSource(path))
    if name.endswith((".pth", ".pt", ".bin", ".ckpt")):
        return _plain(PickledSource(path))
    if name.endswith(".gguf"):
        from storymem.models.gguf_files import GgufSource

        return GgufSource(path)
    raise ModelError(f"{path}: weights are read from .safetensors, .gguf and .pth files; this is none of them.")


def _plain(source: WeightSource) -> WeightSource:
    """The source itself or, if its weights are scaled fp8, a view of it in which they are multiplied out."""
    from storymem.models.fp8 import ScaledFp8Source, is_scaled_fp8

    return ScaledFp8Source(source) if is_scaled_fp8(source) else source
