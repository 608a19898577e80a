"""Putting LoRAs on a transformer: merged into its weights, or beside them as adapters.

*Merging* costs nothing while sampling and cannot be undone. *Adapters* (PEFT) leave the weights alone: they can be
weighted anew, switched off, trained, and they work on quantized weights. Either way nothing is changed before all of it
was found to fit, and a key that fits nothing is an error that names it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from storymem.errors import CheckpointError, MissingExtraError, ModelError
from storymem.models.lora_files import Expert, Lora, LoraLayer, LoraPair, load_lora

if TYPE_CHECKING:
    from diffusers import WanTransformer3DModel

__all__ = [
    "Expert",
    "Lora",
    "LoraLayer",
    "LoraPair",
    "LoraReport",
    "add_adapter",
    "apply_lora",
    "check_lora_fit",
    "load_lora",
    "merge_lora",
]


@dataclass(frozen=True, slots=True)
class LoraReport:
    """What a LoRA did.

    Attributes:
        modules: linear layers that were changed.
        parameters: norms and biases that a full difference was added to.
        scales: the different scales at weight 1, ascending: ``alpha / sqrt(rank)`` or ``alpha / rank``.
        weight: the weight it was applied with.
        merged: whether it is part of the weights now, or beside them as an adapter.
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    scales: tuple[float, ...]
    weight: float
    merged: bool


def apply_lora(transformer: WanTransformer3DModel, lora: Lora, *, name: str, weight: float = 1.0) -> LoraReport:
    """Merge a LoRA where that is possible, and put it beside the weights as an adapter called `name` where it is not.

    It is not possible on quantized weights, nor on a transformer that has an adapter already.

    Raises:
        CheckpointError: a module is not in the transformer or of another shape; names the key.
    """
    check_lora_fit(transformer, lora)
    if all(_is_plain(transformer.get_submodule(module)) for module in lora.layers):
        return merge_lora(transformer, lora, weight)
    return add_adapter(transformer, lora, name, weight)


@torch.no_grad()
def merge_lora(transformer: WanTransformer3DModel, lora: Lora, weight: float = 1.0) -> LoraReport:
    """Add ``weight * scale * up @ down`` to the weights, in place.

    The sum is formed in float32 and rounded once to the type of the weight. To stack LoRAs, merge one after the other.

    Args:
        transformer: the expert to change; its weights must be ordinary tensors.
        lora: from `load_lora`.
        weight: strength; 1 is what it was trained for.

    Raises:
        CheckpointError: a module is not in the transformer or of another shape; names the key.
        ModelError: the weights are quantized; use `add_adapter`.
    """
    check_lora_fit(transformer, lora)
    for module in lora.layers:
        linear = transformer.get_submodule(module)
        if not _is_plain(linear):
            raise ModelError(
                f"{lora.path}: cannot be merged: {module} is quantized or has an adapter; put it on as an adapter, "
                "or load the transformer with its weights expanded."
            )
    for module, layer in lora.layers.items():
        parameter = transformer.get_submodule(module).weight
        down = layer.down.to(device=parameter.device, dtype=torch.float32)
        up = layer.up.to(device=parameter.device, dtype=torch.float32)
        # A new tensor rather than in place: the old one may be a view of the file.
        summed = torch.addmm(parameter.to(torch.float32), up, down, alpha=weight * lora.scale(module))
        parameter.data = summed.to(parameter.dtype)
    _add_deltas(transformer, lora, weight)
    return _report(lora, weight, merged=True)


@torch.no_grad()
def add_adapter(transformer: WanTransformer3DModel, lora: Lora, name: str, weight: float = 1.0) -> LoraReport:
    """Put a LoRA beside the weights, as a PEFT adapter; the ones already there stay active.

    Full differences (norms, biases) cannot be adapters: they are added to the parameters, once and for all.

    Args:
        transformer: the expert to change.
        lora: from `load_lora`.
        name: of the adapter, letters, digits and underscores; not yet in use.
        weight: strength; change it later with ``transformer.set_adapters``.

    Raises:
        CheckpointError: a module is not in the transformer or of another shape; names the key.
        ModelError: the name is taken.
        MissingExtraError: PEFT is not installed.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraLayer as PeftLayer
    except ImportError as error:
        raise MissingExtraError("peft", "adapters", "keep a LoRA beside the weights instead of merging it") from error
    if name in getattr(transformer, "peft_config", {}):
        raise ModelError(f"There is already an adapter named {name!r} on the transformer; choose another name.")
    check_lora_fit(transformer, lora)
    ranks = {module: layer.rank for module, layer in lora.layers.items()}
    alphas = {module: layer.alpha for module, layer in lora.layers.items()}
    before = {other: _weight_of(transformer, other) for other in getattr(transformer, "peft_config", {})}
    first = next(iter(lora.layers))
    config = LoraConfig(
        r=ranks[first],
        lora_alpha=alphas[first],
        use_rslora=lora.rslora,
        target_modules=list(lora.layers),
        rank_pattern={module: rank for module, rank in ranks.items() if rank != ranks[first]},
        alpha_pattern={module: alpha for module, alpha in alphas.items() if alpha != alphas[first]},
        init_lora_weights=False,
    )
    with warnings.catch_warnings():
        # PEFT wonders at a second adapter; here it is what was asked for.
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        transformer.add_adapter(config, adapter_name=name)
    for module, layer in lora.layers.items():
        adapted = transformer.get_submodule(module)
        assert isinstance(adapted, PeftLayer)
        for part, tensor in ((adapted.lora_A, layer.down), (adapted.lora_B, layer.up)):
            parameter = part[name].weight
            parameter.data = tensor.to(device=parameter.device, dtype=parameter.dtype).clone()
            parameter.requires_grad_(False)
    transformer.set_adapters([*before, name], [*before.values(), weight])
    _add_deltas(transformer, lora, weight)
    return _report(lora, weight, merged=False)


def _is_plain(linear: torch.nn.Module) -> bool:
    """Whether the layer's weight is an ordinary tensor that can be added to, and no adapter sits on it."""
    if not isinstance(linear, torch.nn.Linear):  # PEFT's layers are not
        return False
    return _is_ordinary(linear.weight)


def _is_ordinary(weight: torch.Tensor) -> bool:
    """Whether numbers can be added to it: it is not quantized."""
    return type(weight) is torch.nn.Parameter and weight.dtype.is_floating_point and weight.dtype.itemsize > 1


def _weight_of(transformer: torch.nn.Module, name: str) -> float:
    """The weight an adapter is on the transformer with: its scaling over what it would be at weight 1."""
    from peft.tuners.lora import LoraLayer as PeftLayer

    for module in transformer.modules():
        if isinstance(module, PeftLayer) and name in module.scaling:
            rank, alpha = module.r[name], module.lora_alpha[name]
            rslora = module.use_rslora.get(name, False)
            return float(module.scaling[name] / (alpha / rank**0.5 if rslora else alpha / rank))
    return 1.0


def check_lora_fit(transformer: torch.nn.Module, lora: Lora) -> None:
    """See that everything in `lora` has a place in the transformer (which may be empty), of the right shape.

    Raises:
        CheckpointError: something has not; names its key.
    """
    modules = dict(transformer.named_modules())
    strange = [layer.key for module, layer in lora.layers.items() if not hasattr(modules.get(module), "in_features")]
    parameters = _bare_parameters(transformer)
    strange += [lora.keys[name] for name in lora.deltas if name not in parameters]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise CheckpointError(
            f"{lora.path}: {', '.join(strange[:3])}{more} fit nothing in the transformer; nothing was applied."
        )
    if not lora.layers and not lora.deltas:
        raise CheckpointError(f"{lora.path}: changes nothing in the transformer.")
    for module, layer in lora.layers.items():
        linear = modules[module]
        needed = (linear.out_features, linear.in_features)
        if (layer.up.shape[0], layer.down.shape[1]) != needed:
            raise CheckpointError(
                f"{lora.path}: {layer.key} is for a layer of {layer.up.shape[0]} x {layer.down.shape[1]}, but {module} "
                f"of the transformer is {needed[0]} x {needed[1]}: the LoRA is for another model; nothing was applied."
            )
    for name, delta in lora.deltas.items():
        if not _is_ordinary(parameters[name]):
            raise CheckpointError(
                f"{lora.path}: {lora.keys[name]} is a full difference, which cannot be added to quantized weights: use "
                "a transformer that is not quantized, or expand it while loading (quantized=False); nothing was "
                "applied."
            )
        if delta.shape != parameters[name].shape:
            raise CheckpointError(
                f"{lora.path}: {lora.keys[name]} has shape {list(delta.shape)}, but {name} of the transformer has "
                f"{list(parameters[name].shape)}: the LoRA is for another model; nothing was applied."
            )


def _bare_parameters(transformer: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Parameters under their own names, also when adapters have moved a layer into `base_layer`."""
    return {name.replace(".base_layer.", "."): value for name, value in transformer.named_parameters()}


def _add_deltas(transformer: torch.nn.Module, lora: Lora, weight: float) -> None:
    parameters = _bare_parameters(transformer)
    for name, delta in lora.deltas.items():
        parameter = parameters[name]
        difference = weight * delta.to(device=parameter.device, dtype=torch.float32)
        parameter.data = (parameter.to(torch.float32) + difference).to(parameter.dtype)


def _report(lora: Lora, weight: float, *, merged: bool) -> LoraReport:
    scales = sorted({round(lora.scale(module), 6) for module in lora.layers})
    return LoraReport(tuple(lora.layers), tuple(lora.deltas), tuple(scales), weight, merged)
