"""What a training run is, as a YAML file that checks itself: unknown keys are refused, all mistakes told."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError, model_validator

from storymem.errors import SettingsError
from storymem.training.network_sections import LoraSection, TextEncoderSection, TransformerSection, VaeSection
from storymem.training.sections import (
    BaseConditioningSection,
    BaseLossSection,
    ConditioningSection,
    DataSection,
    DistilSection,
    EmaSection,
    FlowLossSection,
    NoiseSection,
    NotNegative,
    OptimizerSection,
    Positive,
    RewardSection,
    RuntimeSection,
    SampleSection,
    Section,
    TokensSection,
    VaeLossSection,
    ValidationSection,
)

__all__ = ["BaseStage", "MemoryStage", "Stage", "VaeStage", "load_config", "parse_config", "section_in"]


class _Stage(Section):
    output: Path
    """Folder for everything the run writes."""
    seed: int = 0
    """Everything random follows from it and the number of the step."""
    steps: Positive
    """Optimizer steps (per expert)."""
    batch_size: Positive = 8
    """Clips per step, all processes together."""
    accumulate: Positive = 1
    """Parts that a batch is computed in, one after the other; each has its own number of keyframes."""
    data: DataSection
    optimizer: OptimizerSection = OptimizerSection()
    ema: EmaSection = EmaSection()
    runtime: RuntimeSection = RuntimeSection()
    checkpoint_every: NotNegative = 500
    """Steps between two checkpoints; there is one at the end in any case."""
    keep_checkpoints: Positive = 2
    """How many stay."""
    log_every: Positive = 10
    """Steps between two lines of the log."""
    tensorboard: bool = False
    """Also write TensorBoard event files (extra: train)."""
    sample: SampleSection = SampleSection()

    @model_validator(mode="after")
    def _parts(self) -> _Stage:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})")
        if self.optimizer.kind == "muon" and self.runtime.fsdp:
            raise ValueError("optimizer.kind muon needs whole matrices, and runtime.fsdp shards them: use adamw")
        if self.optimizer.schedule == "constant":
            _refuse_idle(self, "with optimizer.schedule constant", ("optimizer.final_ratio",))
        return self


class VaeStage(_Stage):
    """Train a VAE from nothing."""

    stage: Literal["vae"]
    vae: VaeSection = VaeSection()
    loss: VaeLossSection = VaeLossSection()

    @model_validator(mode="after")
    def _fits(self) -> VaeStage:
        factor = self.vae.spatial_factor
        if self.data.width % factor or self.data.height % factor:
            raise ValueError(
                f"data is {self.data.width}x{self.data.height}; both must be multiples of {factor} (the VAE's)"
            )
        if self.loss.code_noise and not self.vae.freeze_encoder:
            raise ValueError("loss.code_noise is for a code that stays as it is: set vae.freeze_encoder")
        if self.vae.freeze_encoder and self.loss.kl:  # 0 may be said as well
            _refuse_idle(self, "with vae.freeze_encoder, which fixes what it is about", ("loss.kl",))
        return self

    @model_validator(mode="after")
    def _no_transformer(self) -> VaeStage:
        if self.runtime.fsdp:
            raise ValueError("runtime.fsdp shards a transformer, and the vae stage trains none: leave it out")
        # A VAE has no repeated blocks, cannot compute activations again, and is trained on pixels in main memory, of
        # which none is another's memory; its samples are what it makes of clips.
        idle = (
            "runtime.gradient_checkpointing",
            "runtime.compile",
            "runtime.base_dtype",
            "runtime.workers",
            "data.store",
            "data.keyframes_per_clip",
            "data.variants",
            "sample.num_inference_steps",
            "sample.guidance_scale",
            "sample.num_memory",
        )
        _refuse_idle(self, "in the vae stage", idle)
        return self


def _refuse_idle(config: Section, where: str, settings: tuple[str, ...]) -> None:
    """A setting that does nothing is a mistake of whoever gave it; the default may be said.

    Raises:
        ValueError: some of `settings` are not at their defaults.
    """
    names = []
    for setting in settings:
        *sections, name = setting.split(".")
        section: Any = config
        for part in sections:
            section = getattr(section, part)
        if getattr(section, name) != type(section).model_fields[name].default:
            names.append(setting)
    if names:
        verb, them = ("does", "it") if len(names) == 1 else ("do", "them")
        raise ValueError(f"{', '.join(names)} {verb} nothing {where}: leave {them} out")


class _DenoisingStage(_Stage):
    conditioning: ConditioningSection
    noise: NoiseSection = NoiseSection()
    loss: FlowLossSection = FlowLossSection()
    tokens: TokensSection = TokensSection()
    validation: ValidationSection = ValidationSection()
    expert: Literal["both", "high", "low"] = "both"
    """Which experts of a model with two are trained; both means one after the other, so only one is in memory."""

    @property
    def is_one_call(self) -> bool:
        """What is trained is to be sampled without guidance."""
        return False

    @model_validator(mode="after")
    def _needs_held_out(self) -> _DenoisingStage:
        for name, every in (("validation", self.validation.every), ("sample", self.sample.every)):
            if every and not self.data.held_out:
                raise ValueError(f"{name}.every needs groups that are not trained on: set data.held_out")
        for name, wanted in (("focus", self.loss.focus > 1), ("recognition", self.loss.recognition > 0)):
            if wanted and self.data.folder is not None:
                raise ValueError(f"loss.{name} needs a world: of footage it is not known where its subjects are")
        return self

    @model_validator(mode="after")
    def _is_drawn(self) -> _DenoisingStage:
        if self.noise.distribution == "uniform":
            _refuse_idle(self, "with noise.distribution uniform", ("noise.mean", "noise.std"))
        if not self.data.variants:
            damage = tuple(f"conditioning.augment.{name}" for name in type(self.conditioning.augment).model_fields)
            _refuse_idle(self, "with data.variants 0", damage)
        return self

    @model_validator(mode="after")
    def _all_of_a_folder_is_there(self) -> _DenoisingStage:
        if self.data.folder is not None:
            idle = ("data.pool", "data.store", "runtime.workers")
            _refuse_idle(self, "with data.folder, which is encoded on disk and seen whole", idle)
        return self


class BaseStage(_DenoisingStage):
    """Train a text-to-video base of 36-channel form (image-to-video too) from nothing, on latents of a given VAE."""

    stage: Literal["base"]
    vae: Path
    """The VAE: a folder with config.json (the output of the vae stage is OUTPUT/vae)."""
    start: Path | None = None
    """A diffusers folder with weights and tokenizer to begin with, as of another run; its patches may be larger."""
    transformer: TransformerSection = TransformerSection()
    text_encoder: TextEncoderSection = TextEncoderSection()
    conditioning: BaseConditioningSection = BaseConditioningSection()
    loss: BaseLossSection = BaseLossSection()

    @model_validator(mode="after")
    def _captions_know_their_clauses(self) -> BaseStage:
        if self.loss.clauses and self.data.folder is not None:
            raise ValueError("loss.clauses needs a world: of footage it is not known which words speak of whom")
        return self

    @model_validator(mode="after")
    def _nothing_is_frozen(self) -> BaseStage:
        _refuse_idle(self, "in the base stage, where all weights are trained", ("runtime.base_dtype",))
        if self.transformer.experts == 1:
            _refuse_idle(self, "with one expert", ("transformer.boundary_ratio", "expert"))
        elif self.expert != "both" and self.start is None:
            raise ValueError(f"expert: {self.expert} leaves the other one as it is in `start`, which is not given")
        if self.expert == "low" and self.loss.clauses:
            raise ValueError(
                "loss.clauses is for the text encoder, which is trained with the high expert: leave it out"
            )
        return self


class MemoryStage(_DenoisingStage):
    """Teach memory to an existing model: a LoRA beside its frozen weights, or all of its weights."""

    stage: Literal["memory"]
    model: Path
    """The model: an original Wan2.2 folder or a diffusers folder."""
    train: Literal["lora", "full"] = "lora"
    """What is trained."""
    lora: LoraSection = LoraSection()
    conditioning: ConditioningSection = ConditioningSection()
    distil: DistilSection | None = None
    """Learn from the model itself under guidance, instead of from the clips; left out, from the clips."""
    reward: RewardSection | None = None
    """Learn from a judge of what the model makes, instead of from the clips; left out, from the clips."""

    @property
    def is_one_call(self) -> bool:
        """See `_DenoisingStage.is_one_call`."""
        return self.distil is not None or self.reward is not None

    @model_validator(mode="after")
    def _guided(self) -> MemoryStage:
        if self.distil is None:
            return self
        if self.conditioning.drop_prompt:
            raise ValueError("distil makes guidance by the prompt needless: set conditioning.drop_prompt to 0")
        if self.distil.memory_guidance_scale > 1 and not self.conditioning.max_memory:
            raise ValueError("distil.memory_guidance_scale needs memory: raise conditioning.max_memory")
        if self.distil.guidance_scale == 1:
            _refuse_idle(self, "with distil.guidance_scale 1", ("distil.negative_prompt",))
        _refuse_idle(self, "with distil, after which one pass is enough", ("sample.guidance_scale",))
        return self

    @model_validator(mode="after")
    def _judged(self) -> MemoryStage:
        if self.reward is None:
            return self
        if self.distil is not None and not self.reward.keep:
            raise ValueError(
                "distil and reward say different things of what is learned: leave one of them out, or say with "
                "reward.keep how strongly distil holds all but the subjects"
            )
        if self.reward.keep and self.distil is None:
            raise ValueError("reward.keep needs distil, which says under what guidance the model is to be kept")
        if self.reward.keep and self.train == "lora":
            raise ValueError("reward.keep needs train: full, where the model as it is lies beside the one that learns")
        if self.data.folder is not None:
            raise ValueError("reward needs a world: nobody judges whether footage shows what it should")
        if self.conditioning.drop_prompt:
            raise ValueError("reward makes shots without guidance by the prompt: set conditioning.drop_prompt to 0")
        idle = ("tokens.clip", "tokens.memory", "loss.recognition", "noise.distribution", "noise.mean", "noise.std")
        _refuse_idle(self, "with reward, where whole shots are made", (*idle, "noise.stratified"))
        _refuse_idle(self, "with reward, where one pass is enough", ("sample.guidance_scale",))
        return self

    @model_validator(mode="after")
    def _what_is_trained(self) -> MemoryStage:
        if self.train == "full":
            # But `lora` may be said, for the day that it is chosen.
            _refuse_idle(self, "with train: full, where no weights are frozen", ("runtime.base_dtype",))
        return self


Stage = VaeStage | BaseStage | MemoryStage
_STAGES: dict[str, type[VaeStage] | type[BaseStage] | type[MemoryStage]] = {
    "vae": VaeStage,
    "base": BaseStage,
    "memory": MemoryStage,
}


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> Stage:
    """Read a training configuration.

    Args:
        path: a YAML file.
        overrides: ``key.key=value`` (the value in YAML), laid over the file.

    Raises:
        SettingsError: the file cannot be read, or has mistakes; all of them, one per line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}); give a YAML file in UTF-8.") from error
    return parse_config(text, str(path), overrides)


def parse_config(text: str, source: str, overrides: tuple[str, ...] = ()) -> Stage:
    """A configuration from YAML text; see `load_config`."""
    values = _parse_yaml(text, source)
    for override in overrides:
        _override(values, override)
    stage = values.get("stage")
    if not isinstance(stage, str) or stage not in _STAGES:
        raise SettingsError(f"{source}: stage: is {stage!r}; it must be one of {', '.join(_STAGES)}.")
    _lay_under(values)
    try:
        return _STAGES[stage].model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error, source))) from None


def _lay_under(values: dict[str, Any]) -> None:
    """Size and length of prepared footage where the configuration does not say them."""
    data = values.get("data")
    folder = data.get("folder") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(folder, str):
        from storymem.training.footage import read_settings

        with suppress(SettingsError):  # whoever opens the folder tells what is wrong with it
            made = read_settings(Path(folder))
            for name in ("width", "height", "num_frames"):
                data.setdefault(name, getattr(made, name))


def _parse_yaml(text: str, source: str) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark else source
        raise SettingsError(f"{place}: not valid YAML ({getattr(error, 'problem', None) or error}).") from error
    except (ValueError, KeyError) as error:  # what the parser lets through of dates and numbers that cannot be
        raise SettingsError(
            f"{source}: a value looks like a date or a number and is none ({error}): put it in quotes, or correct it."
        ) from error
    if not isinstance(values, dict):
        raise SettingsError(f"{source}: must hold settings (`stage: memory` and so on), not a {type(values).__name__}.")
    return values


def _override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *parents, last = name.strip().split(".")
    if not equals or not all([*parents, last]):
        raise SettingsError(f"--set {override}: must be KEY=VALUE, such as optimizer.learning_rate=1e-4.")
    target = values
    for parent in parents:
        if target.get(parent) is None:  # not there, or named and left empty
            target[parent] = {}
        target = target[parent]
        if not isinstance(target, dict):
            raise SettingsError(f"--set {override}: {parent} is a value, not a section.")
    target[last] = _parse_yaml(f"value: {text}", f"--set {override}")["value"]


def _explain(error: ValidationError, source: str) -> list[str]:
    """One line per mistake: ``file: field: what was found and what is allowed``."""
    lines = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"there is no such setting here; known are {', '.join(_known(error.title, problem['loc']))}"
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"] != "value_error":
            message = f"is {problem['input']!r}; {message[0].lower()}{message[1:]}"
        lines.append(f"{source}: {field + ': ' if field else ''}{message}.")
    return lines


def _known(title: str, location: tuple[int | str, ...]) -> list[str]:
    """The fields of the section that an unknown key stands in."""
    section: Any = next(stage for stage in _STAGES.values() if stage.__name__ == title)
    for part in location[:-1]:
        section = section_in(section.model_fields[part].annotation)
    return list(section.model_fields)


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field of this type holds, or may hold; None if it is a plain value."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None
