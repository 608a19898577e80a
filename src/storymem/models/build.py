"""From a source of weights to a module: built empty, compared key by key, then filled one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch

from storymem.errors import CheckpointError
from storymem.models.gguf_files import GgufSource, keep_quantized
from storymem.models.weights import RenamedSource, TensorInfo, WeightSource

__all__ = ["check_fit", "fill", "make_empty"]

M = TypeVar("M", bound=torch.nn.Module)

# Types that only store weights; arithmetic needs a wider one.
_STORAGE_ONLY = (torch.float8_e4m3fn, torch.float8_e5m2)


def make_empty(build: Callable[[], M]) -> M:
    """Build a module whose parameters take no memory (meta device), without touching the random numbers of others.

    Buffers are made for real: rotary tables and the like are computed by the constructor and are in no file.
    """
    from accelerate import init_empty_weights

    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        return build()


def check_fit(expected: Mapping[str, tuple[int, ...]], infos: Mapping[str, TensorInfo], source: WeightSource) -> None:
    """Compare what a model needs with what a file has, and name everything that does not fit.

    Args:
        expected: name → shape of every tensor of the model's state dict.
        infos: name → shape in the file, under the model's names.
        source: the file, for messages.

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape.
    """
    problems = []
    missing = [name for name in expected if name not in infos]
    if missing:
        problems.append(f"{_listed(missing)} missing")
    unexpected = [name for name in infos if name not in expected]
    if unexpected:
        original = getattr(source, "original", {})
        problems.append(f"{_listed(original.get(name, name) for name in unexpected)} not part of the model")
    for name, shape in expected.items():
        if name in infos and infos[name].shape != shape:
            problems.append(f"{name} has shape {list(infos[name].shape)} instead of {list(shape)}")
    if problems:
        raise CheckpointError(f"{source.path}: does not fit the model: {'; '.join(_shortened(problems))}.")


def _listed(names: Iterable[str], most: int = 4) -> str:
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more + (" is" if len(known) == 1 else " are")


def _shortened(problems: list[str], most: int = 4) -> list[str]:
    return problems if len(problems) <= most else [*problems[:most], f"and {len(problems) - most} more"]


def fill(
    model: M,
    source: RenamedSource,
    *,
    dtype: torch.dtype | None,
    device: torch.device | str = "cpu",
    keep_in_fp32: Iterable[str] = (),
    quantized: bool = False,
) -> M:
    """Read every tensor of an empty module, check that each fits, and freeze the result in evaluation mode.

    Args:
        model: from `make_empty`.
        source: tensors under the model's names.
        dtype: type of the weights; None keeps the file's (but fp8 and quantized weights, which one cannot compute with,
            become bfloat16).
        device: where the weights go.
        keep_in_fp32: names of modules that stay float32 whatever `dtype` says, as diffusers keeps them.
        quantized: leave the quantized linear layers of a GGUF file quantized.

    Raises:
        CheckpointError: see `check_fit`.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    check_fit(expected, source.infos, source)
    kept = set(keep_in_fp32)
    state: dict[str, torch.Tensor] = {}
    if isinstance(source.source, GgufSource):
        dtype = dtype or torch.bfloat16
        if quantized:
            state.update(keep_quantized(model, source, dtype=dtype, device=device, skip=kept))
    read: dict[str, torch.Tensor] = {}  # by the name in the file: two names of one tensor share its memory
    for name in expected:
        if name in state:
            continue
        original = source.original[name]
        if original not in read:
            tensor = source.read(name)
            target = dtype or (torch.bfloat16 if tensor.dtype in _STORAGE_ONLY else tensor.dtype)
            if kept.intersection(name.split(".")):
                target = torch.float32
            # A copy of the few that stay in float32: as views they would keep the whole file mapped.
            apart = dtype is not None and target != dtype
            read[original] = tensor.to(device=device, dtype=target, copy=apart)
        state[name] = read[original]
    _assign(model, state)
    for name, buffer in model.named_buffers():
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, buffer.to(device))
    return model.requires_grad_(False).eval()


def _assign(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put the tensors of `state` into `model`; one tensor under two names becomes one shared parameter."""
    parameters: dict[int, torch.nn.Parameter] = {}
    for name, tensor in state.items():
        if isinstance(tensor, torch.nn.Parameter):  # already in its layer
            continue
        owner, _, leaf = name.rpartition(".")
        parameter = parameters.setdefault(id(tensor), torch.nn.Parameter(tensor, requires_grad=False))
        model.get_submodule(owner).register_parameter(leaf, parameter)
    left = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    assert not left, f"never filled: {left[:3]}"
