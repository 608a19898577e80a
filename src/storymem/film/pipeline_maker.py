"""The `ShotMaker` that is a diffusion model: weights on disk in, frames out."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from storymem.errors import ModelError, SettingsError
from storymem.film.maker import FloatArray, OnStep, ShotRequest
from storymem.film.out_of_memory import enough_memory

if TYPE_CHECKING:
    import torch

    from storymem.pipeline import StoryMemPipeline
    from storymem.settings import SamplingConfig

__all__ = ["LoraChoice", "ModelChoice", "PipelineShotMaker", "Runtime"]

Offload = Literal["none", "model", "group", "sequential"]
OFFLOADS: tuple[Offload, ...] = ("none", "model", "group", "sequential")


@dataclass(frozen=True, slots=True)
class LoraChoice:
    """A LoRA and how strongly it is applied.

    Attributes:
        path: a folder with a file per expert, or one file.
        weight: 1 is what it was trained for.
    """

    path: Path
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Weights on disk.

    Attributes:
        name: for people.
        folder: an original Wan2.2 folder or a diffusers folder.
        loras: merged into the weights in this order.
        files: single files in place of parts of the folder, by component name (such as ``transformer``: a `.gguf`).
        sampling: fields of `SamplingConfig` that this model's shots get, whatever the film says. A first-shot model has
            a schedule and guidance of its own.
    """

    name: str
    folder: Path | None
    loras: tuple[LoraChoice, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how a model runs; none of it belongs to what a film is.

    Attributes:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: ``auto`` (bfloat16 on a GPU, float32 on a CPU), ``float32``, ``bfloat16``, ``float16``.
        offload: what waits in main memory: ``none``; ``model``: every component but the one at work; ``group``: every
            block but the one at work, fetched ahead, and not the VAE; ``sequential``: every layer (slowest, smallest).
        attention: a diffusers attention backend, such as ``flash`` or ``sage``; None is torch's own.
        vae_tiling: decode in tiles: less memory, and a little different at the seams.
    """

    device: str = "auto"
    dtype: str = "auto"
    offload: Offload = "none"
    attention: str | None = None
    vae_tiling: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise SettingsError(f"dtype is {self.dtype!r}; it must be auto, float32, bfloat16 or float16.")
        if self.offload not in OFFLOADS:
            raise SettingsError(f"offload is {self.offload!r}; it must be one of {', '.join(OFFLOADS)}.")

    def resolve(self) -> tuple[torch.device, torch.dtype]:
        """The device and dtype on this machine.

        Raises:
            SettingsError: the device is not here.
        """
        import torch

        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise SettingsError(f"device {self.device!r} cannot be used here ({reason}): try cpu or auto.") from error
        if self.dtype == "auto":
            return device, torch.float32 if device.type == "cpu" else torch.bfloat16
        return device, cast("torch.dtype", getattr(torch, self.dtype))


class PipelineShotMaker:
    """Makes shots with `StoryMemPipeline`. Weights are loaded at the first shot that needs them, and once per run.

    Args:
        model: the model with memory.
        first: a text-to-video model for shots that see nothing (Wan2.2-T2V-A14B makes a better first shot than the
            image-to-video model does). The two are never in memory together.
        runtime: device, type and offload.
        request: what the user asked for (see `storymem.film.resolve`); kept in the film, for retakes without options.

    Raises:
        ModelError: a part of a model is missing, or a LoRA is for an expert that it has not; seen before anything is
            loaded.
    """

    def __init__(
        self,
        model: ModelChoice,
        *,
        first: ModelChoice | None = None,
        runtime: Runtime | None = None,
        request: Mapping[str, object] | None = None,
    ) -> None:
        from storymem.models.layouts import find_lora, find_model

        self.model = model
        self.first = first
        self.runtime = runtime or Runtime()
        self.request = dict(request or {})
        for choice in self._choices:
            parts = find_model(choice.folder, files=choice.files).parts
            for lora in choice.loras:
                for expert in find_lora(lora.path):
                    if expert == "low" and "transformer_2" not in parts:
                        raise _no_such_expert(lora, choice)
        self._loaded: ModelChoice | None = None
        self._pipeline: StoryMemPipeline | None = None

    @property
    def _choices(self) -> list[ModelChoice]:
        return [self.model] if self.first is None else [self.model, self.first]

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the weights' identities, the LoRAs' strengths and the models' own settings.

        Device, type and offload are not in it: a film may be gone on with on another machine.
        """
        from storymem.models.fingerprint import lora_identity, model_identity

        parts = [
            {
                "weights": model_identity(choice.folder, files=choice.files),
                "loras": [[lora_identity(lora.path), float(lora.weight)] for lora in choice.loras],
                "sampling": dict(choice.sampling),
            }
            for choice in self._choices
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def description(self) -> dict[str, object]:
        """Names and strengths, for people."""
        about: dict[str, object] = {"model": self.model.name}
        if self.model.loras:
            about["loras"] = [{"name": lora.path.name, "weight": float(lora.weight)} for lora in self.model.loras]
        if self.first is not None:
            about["first_shot_model"] = self.first.name
        if self.request:
            about["request"] = self.request
        return about

    def make(self, request: ShotRequest, on_step: OnStep) -> FloatArray:
        """The shot's frames, ``[F, 3, H, W]`` float32 in [-1, 1].

        The noise comes from a CPU generator, so a seed means the same noise on every device.
        """
        import torch

        choice = self.first if self.first is not None and request.mode == "t2v" else self.model
        with _enough_memory(None):
            pipeline = self._load(choice)
        sampling = replace(request.sampling, **choice.sampling)
        total = sampling.num_inference_steps
        on_step(0, total)

        def step_done(
            _pipeline: Any, step: int, _t: torch.Tensor, _kwargs: dict[str, torch.Tensor]
        ) -> dict[str, torch.Tensor]:
            on_step(step + 1, total)
            return {}

        with _enough_memory(sampling):
            output = pipeline(
                request.prompt,
                negative_prompt=request.negative_prompt,
                memory=list(request.memory),
                known_frames=request.known_frames,
                sampling=sampling,
                generator=torch.Generator().manual_seed(request.seed),
                output_type="raw",
                callback_on_step_end=step_done,
            )
        return np.ascontiguousarray(output.frames.transpose(0, 1).numpy())

    def estimate_seconds(self, sampling: SamplingConfig, num_memory: int) -> float:
        """About how long a shot will take here, by `storymem.film.cost`; nothing is loaded."""
        from storymem.film.cost import work_of

        choice = self.first if self.first is not None and not num_memory else self.model
        config = replace(sampling, **choice.sampling)
        return work_of(choice).operations(config, num_memory) / self._speed

    @cached_property
    def _speed(self) -> float:
        from storymem.film.cost import measure_speed

        return measure_speed(*self.runtime.resolve())

    def unload(self) -> None:
        """Give the weights' memory back."""
        import torch

        self._pipeline = self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self, choice: ModelChoice) -> StoryMemPipeline:
        if self._pipeline is None or self._loaded is not choice:
            self.unload()  # before the other one is loaded: they need not fit together
            self._pipeline = load_pipeline(choice, self.runtime)
            self._loaded = choice
        return self._pipeline


@contextmanager
def _enough_memory(sampling: SamplingConfig | None) -> Iterator[None]:
    """`enough_memory` for a shot with these settings; None: for loading weights."""
    if sampling is None:
        when, remedy = "while the weights were loaded", "--offload model or group"
    else:
        when = f"at {sampling.width}x{sampling.height} with {sampling.num_frames} frames"
        remedy = "a smaller --size or fewer --frames, --offload model or group, --vae-tiling"
    more = "or a quantized --transformer; `storymem doctor` says what this machine can run"
    with enough_memory(when, f"try {remedy}, {more}"):
        yield


def load_pipeline(choice: ModelChoice, runtime: Runtime) -> StoryMemPipeline:
    """Load weights, merge LoRAs and place everything.

    Raises:
        ModelError: a part is missing.
        CheckpointError: a file or a LoRA does not fit.
        SettingsError: the device or the attention backend is not here.
    """
    from storymem.models.checkpoints import load_components
    from storymem.models.lora import apply_lora, load_lora
    from storymem.pipeline import StoryMemPipeline

    device, dtype = runtime.resolve()
    files: dict[str, Any] = dict(choice.files)
    parts = load_components(choice.folder, dtype=dtype, **files)
    experts = [("high", parts.transformer), ("low", parts.transformer_2)]
    for number, lora in enumerate(choice.loras):
        pair = load_lora(lora.path)
        for name, transformer in experts:
            change = getattr(pair, name)
            if change is None:
                continue
            if transformer is not None:
                apply_lora(transformer, change, name=f"lora_{number}", weight=lora.weight)
            elif change is not pair.high:  # a LoRA that serves both experts serves a single one
                raise _no_such_expert(lora, choice)
    pipeline = StoryMemPipeline.from_components(parts)
    pipeline.set_progress_bar_config(disable=True)
    if runtime.attention is not None:
        for _, transformer in experts:
            if transformer is not None:
                _use_attention(transformer, runtime.attention, device, dtype)
    if runtime.vae_tiling:
        pipeline.vae.enable_tiling()
    _place(pipeline, device, runtime.offload)
    return pipeline


def _no_such_expert(lora: LoraChoice, choice: ModelChoice) -> ModelError:
    return ModelError(
        f"{lora.path}: this LoRA is for the low-noise expert, and {choice.name} has one expert only, so that part of "
        "it would do nothing: use a LoRA of that model, or of both experts alike, or leave it out."
    )


def _use_attention(transformer: Any, name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Have a transformer attend by a backend, which is tried: many can be set and cannot compute here."""
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    config = transformer.config
    try:
        transformer.set_attention_backend(name)
        some = torch.zeros(1, 64, config.num_attention_heads, config.attention_head_dim, device=device, dtype=dtype)
        dispatch_attention_fn(some, some, some, backend=AttentionBackendName(name))
    except Exception as error:  # each backend has errors of its own: assertions, compilers'
        transformer.set_attention_backend("native")  # it is set for all of diffusers
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SettingsError(
            f"attention backend {name!r} cannot be used here ({reason}): leave --attention out, or try another."
        ) from error


def _place(pipeline: StoryMemPipeline, device: torch.device, offload: Offload) -> None:
    if offload != "none" and device.type == "cpu":
        raise SettingsError(f"offload is {offload!r}, but everything is on the CPU already: leave it out.")
    if offload == "sequential" and _is_quantized(pipeline):
        raise SettingsError("offload is 'sequential', which GGUF weights cannot do: use --offload group or model.")
    placing: dict[Offload, Callable[[], object]] = {
        "none": lambda: pipeline.to(device),
        "model": lambda: pipeline.enable_model_cpu_offload(device=device),
        "sequential": lambda: pipeline.enable_sequential_cpu_offload(device=device),
        "group": lambda: pipeline.enable_group_offload(
            onload_device=device,
            offload_type="leaf_level",
            use_stream=device.type == "cuda",
            # Pins a layer when its turn comes: all of them pinned take half as much memory again.
            low_cpu_mem_usage=True,
            # It is called by `encode` and `decode`, in chunks of four frames, and diffusers fetches ahead only within a
            # `forward`: each chunk would wait for every layer.
            exclude_modules="vae",
        ),
    }
    placing[offload]()


def _is_quantized(pipeline: StoryMemPipeline) -> bool:
    """Whether an expert's weights are those of a GGUF file, not yet expanded."""
    experts = [expert for expert in (pipeline.transformer, pipeline.transformer_2) if expert is not None]
    return any(hasattr(weight, "quant_type") for expert in experts for weight in expert.parameters())
