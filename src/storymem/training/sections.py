"""The sections of a training configuration; `docs/training.md` lists every field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storymem.settings import Blank

__all__ = [
    "AugmentSection",
    "BaseConditioningSection",
    "BaseLossSection",
    "ConditioningSection",
    "DataSection",
    "DistilSection",
    "EmaSection",
    "FlowLossSection",
    "NoiseSection",
    "NotNegative",
    "OptimizerSection",
    "Positive",
    "RewardSection",
    "RuntimeSection",
    "SampleSection",
    "Section",
    "Share",
    "VaeLossSection",
    "ValidationSection",
]

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A part of a configuration: fixed once read, no key that it does not know, no number without end."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, strict=False, allow_inf_nan=False
    )


class OptimizerSection(Section):
    """The optimizer and its learning rate."""

    kind: Literal["adamw", "muon"] = "adamw"
    """AdamW; or Muon for the matrices of repeated blocks and AdamW for the rest: fewer, dearer steps. Not with fsdp."""
    learning_rate: Above0 = 1e-4
    """Peak learning rate. The method trained its LoRA with 1e-5."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """AdamW's averages."""
    weight_decay: AtLeast0 = 0.01
    """AdamW's decay; of weights with two dimensions or more, never of norms and biases."""
    eps: Above0 = 1e-8
    """AdamW's epsilon."""
    warmup_steps: NotNegative = 0
    """Steps in which the learning rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How it falls after that, over the rest of the steps."""
    final_ratio: Share = 0.0
    """Where it ends, as a share of the peak (linear and cosine)."""
    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=True)] = 1.0
    """Gradients are scaled down to this norm; .inf leaves them as they are."""


class EmaSection(Section):
    """Exponential moving average of the trained weights; the average is what is saved and sampled from."""

    decay: Share = 0.999
    """0 switches it off. In the first steps (1 + step) / (10 + step) is used if it is lower."""


class RuntimeSection(Section):
    """On what and how it runs. Nothing here changes what is trained, but for rounding."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes the accelerator if there is one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 computes under autocast; trained weights stay float32."""
    base_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of frozen weights; bfloat16 halves their memory. For a LoRA only."""
    threads: NotNegative = 0
    """CPU threads; 0 leaves it to PyTorch."""
    workers: NotNegative = 0
    """Processes that draw and encode groups of a world ahead, for an accelerator that would wait for them; 0 does so in
    between. Not in the VAE stage."""
    compile: Literal["off", "static", "dynamic"] = "off"
    """Compile the repeated blocks: one program per number of keyframes (static) or one for all (dynamic). Not a VAE."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time. Not in the VAE stage."""
    fsdp: bool = False
    """Shard the model over all processes (FSDP2) instead of copying it to each. Not in the VAE stage."""


class DataSection(Section):
    """Where the clips come from and at which size. Exactly one of `world` and `folder`."""

    world: str | None = None
    """Name of a procedural world, such as storyland: clips without end."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What that world takes."""
    folder: Path | None = None
    """A folder made by `storymem data prepare`."""
    width: Positive = 224
    """Pixels; of a folder, if left out, as it was prepared."""
    height: Positive = 128
    """Pixels, likewise."""
    num_frames: Positive = 17
    """Pixel frames of a clip, 4k + 1, likewise."""
    keyframes_per_clip: Positive = 3
    """Random frames of each clip that can be memory of the others in its group. Not in the VAE stage."""
    variants: NotNegative = 1
    """Augmented versions encoded of each such frame, beside the clean one. Not in the VAE stage."""
    pool: Positive = 256
    """Groups of a world held in memory at a time; the VAE stage holds as many of a folder, those seen last. Other
    stages see a folder whole, from disk."""
    refresh: AtLeast0 = 0.0
    """New groups per step that take the place of the oldest in the pool; 0 trains on the same pool throughout."""
    first: NotNegative = 0
    """Number of the group that the pool begins with in a world: past what the run at `start` has seen."""
    held_out: NotNegative = 0
    """Groups kept out of training, for validation and sample sheets; of footage also all else of their scenes."""
    store: Literal["cpu", "device"] = "cpu"
    """Where encoded clips of a world lie: in the machine's memory, or on the accelerator. Not in the VAE stage."""

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if (self.world is None) == (self.folder is None):
            raise ValueError("give either world or folder, and not both")
        if self.options and self.world is None:
            raise ValueError("options belong to a world; a folder has none")
        for name, given in (("first", self.first), ("refresh", self.refresh)):
            if given and self.world is None:
                raise ValueError(f"{name} belongs to a world; a folder is seen whole")
        if (self.num_frames - 1) % 4:
            raise ValueError(f"num_frames is {self.num_frames}; it must be 4k + 1, such as 17")
        return self


class AugmentSection(Section):
    """Damage done to memory frames in training, so that a film's small errors do not pile up from shot to shot."""

    probability: Share = 0.5
    """How often a memory slot takes an augmented version of its frame."""
    noise: AtLeast0 = 0.05
    """Standard deviation of added noise, at most (pixels are -1..1)."""
    blur: AtLeast0 = 1.0
    """Standard deviation of Gaussian blur in pixels, at most."""
    jpeg: tuple[Positive, Positive] = (40, 95)
    """Range of JPEG quality, 1 to 100."""
    shift: AtLeast0 = 0.03
    """Move by at most this share of the size."""
    colour: AtLeast0 = 0.05
    """Change of brightness and of each channel, at most (pixels are -1..1)."""

    @model_validator(mode="after")
    def _range(self) -> AugmentSection:
        if not self.jpeg[0] <= self.jpeg[1] <= 100:
            raise ValueError(f"jpeg is {list(self.jpeg)}; it must rise and end at 100 or below")
        return self


class ConditioningSection(Section):
    """What the model is given of a clip besides noise."""

    max_memory: NotNegative = 10
    """M: a batch has 1 to M keyframes from related clips."""
    drop_memory: Share = 0.1
    """How often a batch has none."""
    first_frame: Share = 0.5
    """How often the clip's first frame is given (MI2V)."""
    motion_frames: Share = 0.0
    """How often its first five frames are given (MM2V)."""
    drop_prompt: Share = 0.1
    """How often the prompt is empty, for classifier-free guidance."""
    memory_stride: Positive = 5
    """S of the negative RoPE shift."""
    blank: Blank = "zeros"
    """What stands for frames that are not known: the method's zeros, or a gradient that tells tokens where they are."""
    augment: AugmentSection = AugmentSection()

    @model_validator(mode="after")
    def _shares(self) -> ConditioningSection:
        if self.first_frame + self.motion_frames > 1:
            raise ValueError("first_frame and motion_frames together are above 1")
        return self


class BaseConditioningSection(ConditioningSection):
    """What a base is given of a clip besides noise: no memory, unless it is asked for."""

    max_memory: NotNegative = 0
    """M: a batch has 1 to M keyframes from related clips; a base has none of its own accord."""


class NoiseSection(Section):
    """How noise levels are drawn: s by `distribution`, then t = shift * s / (1 + (shift - 1) * s)."""

    distribution: Literal["uniform", "logit_normal"] = "uniform"
    """Of s, before the shift."""
    mean: float = 0.0
    """Of the normal behind logit_normal."""
    std: Above0 = 1.0
    """Of the normal behind logit_normal."""
    shift: Above0 = 4.0
    """Flow shift; the value the model will be sampled with is a good one."""
    stratified: bool = True
    """Spread the levels of a batch evenly: the loss is less noisy, the distribution the same."""


class SampleSection(Section):
    """Sample sheets: pictures of what the model makes for held-out groups."""

    every: NotNegative = 0
    """Steps between two sheets; 0 makes none."""
    count: Positive = 2
    """Shots on a sheet."""
    num_inference_steps: Positive = 20
    """Denoising steps. Not in the VAE stage, as the next two."""
    guidance_scale: Annotated[float, Field(ge=1)] = 3.5
    """Classifier-free guidance."""
    num_memory: NotNegative = 3
    """Keyframes given (stages with memory)."""


class ValidationSection(Section):
    """Error on held-out groups with their memory, with none and with another group's: right < none < wrong."""

    every: NotNegative = 0
    """Steps between two validations; 0 makes none."""
    clips: Positive = 16
    """Held-out clips looked at."""
    levels: tuple[Share, ...] = (0.5, 0.95)
    """Noise levels t."""
    num_memory: Positive = 3
    """Keyframes given."""


class DistilSection(Section):
    """Guidance put into the weights: learn to say in one pass what the model as it is says under guidance."""

    guidance_scale: Annotated[float, Field(ge=1)] = 1.0
    """Classifier-free guidance of the teacher; 1 is none."""
    memory_guidance_scale: Annotated[float, Field(ge=1)] = 1.0
    """Memory guidance of the teacher; 1 is none."""
    negative_prompt: str = ""
    """What its classifier-free guidance leads away from."""

    @model_validator(mode="after")
    def _something(self) -> DistilSection:
        if self.guidance_scale == self.memory_guidance_scale == 1:
            raise ValueError("guidance_scale or memory_guidance_scale must be above 1: there is no guidance to learn")
        return self


class RewardSection(Section):
    """Learning from what a world's judge says of shots that are made from noise, instead of from clips."""

    steps: Annotated[int, Field(ge=2)] = 6
    """Denoising steps of such a shot, with noise.shift and without guidance; one of each expert's is learned from."""
    keep: AtLeast0 = 0.0
    """How strongly all but the subjects stays what the model, as it is, says under the guidance that distil names."""
    judge_below: Annotated[float, Field(gt=0, le=1)] | None = None
    """Only at noise levels below it is the judge heard. Above them, where it is settled what is where and how it moves,
    the subjects stay as the rest does, or nothing is learned without keep; null: it is heard at all levels."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the world's judge takes."""


class FlowLossSection(Section):
    """What in a clip counts how much."""

    focus: Annotated[float, Field(ge=1)] = 1.0
    """How many times more an error counts where a clip shows its subjects (a world's heroes); 1 is the method's."""
    recognition: AtLeast0 = 0.0
    """Weight of naming the subjects of clip and memory from the middle of the network; needs a world that knows."""


class BaseLossSection(FlowLossSection):
    """What in a clip counts how much, and what is asked of the text encoder that is trained along."""

    clauses: AtLeast0 = 0.0
    """Weight of embeddings saying whose clause a word stands in; needs a world whose captions of two subjects know."""


class TokensSection(Section):
    """What share of the tokens a step computes; by lot, but what a world knows its clips to be about comes first."""

    clip: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the clip's own; errors of what is seldom taken count more, so the loss stays what it is."""
    memory: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the keyframes'."""

    @property
    def all(self) -> bool:
        """Nothing is left out."""
        return self.clip == 1 and self.memory == 1


ALL_TOKENS = TokensSection()
"""Nothing is left out."""


class VaeLossSection(Section):
    """What the VAE is trained for."""

    l1: AtLeast0 = 1.0
    """Weight of the mean absolute error of pixels."""
    edges: AtLeast0 = 0.5
    """Weight of the same of differences between neighbouring pixels, at full, half and quarter size: sharp outlines."""
    kl: AtLeast0 = 1e-6
    """Weight of the divergence of the posterior from a standard normal, per latent number."""
    single_frames: Share = 0.2
    """Share of steps on single frames: a keyframe is encoded alone."""
    code_noise: AtLeast0 = 0.0
    """Noise on codes before they are decoded, at most, as models see it: a decoder that forgives their errors."""
    known_frames: Share = 0.1
    """Share of steps on clips that are zero after the first frames, as the condition of a shot is."""

    @model_validator(mode="after")
    def _shares(self) -> VaeLossSection:
        if self.single_frames + self.known_frames > 1 and "known_frames" in self.model_fields_set:
            raise ValueError("single_frames and known_frames together are above 1")
        return self
