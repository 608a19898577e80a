"""From names and paths, as a user gives them, to the weights and settings of a film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from storymem.errors import ModelError
from storymem.film.cost import blind_experts
from storymem.film.film_settings import FilmSettings
from storymem.film.pipeline_maker import LoraChoice, ModelChoice
from storymem.film.portraits import portraits_of
from storymem.models.catalog import CATALOG, ModelEntry
from storymem.models.own_sampling import laid_over, read_sampling
from storymem.models.recognise import known_lora, known_model
from storymem.models.store import locate
from storymem.settings import SamplingConfig
from storymem.story import Story

__all__ = ["ModelRequest", "ResolvedModel", "refuse_blind", "resolve_model"]

DEFAULT_MODEL = "storyland"


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What was asked for, in words; kept in the film, so that a retake needs no options.

    Attributes:
        model: a name of the catalogue or a folder. The name of a LoRA that has a base means both.
        loras: names, folders or files, each with its weight.
        first_shot_model: a name or folder of a text-to-video model for shots that see nothing.
        transformer: a single file in place of the folder's high-noise expert.
        transformer_2: the same for the low-noise expert.
    """

    model: str = DEFAULT_MODEL
    loras: tuple[tuple[str, float], ...] = ()
    first_shot_model: str | None = None
    transformer: str | None = None
    transformer_2: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values; paths are made absolute, so that they are found from another folder."""
        return {
            **asdict(self),
            "model": _durable(self.model),
            "loras": [[_durable(name), weight] for name, weight in self.loras],
            "first_shot_model": None if self.first_shot_model is None else _durable(self.first_shot_model),
            "transformer": None if self.transformer is None else _durable(self.transformer),
            "transformer_2": None if self.transformer_2 is None else _durable(self.transformer_2),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelRequest:
        """What `to_json` gave."""
        return cls(**{**data, "loras": tuple((str(name), float(weight)) for name, weight in data["loras"])})


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Where the weights are, and what goes with them.

    Attributes:
        model: with its LoRAs.
        first: the first-shot model, if one was asked for.
        sampling: fields of `SamplingConfig` that the model and its LoRAs were made for.
        negative_prompt: the one the model was made for; may be empty.
        memory: fields of `MemoryConfig` that suit it.
        portraits: whether its films have portraits of their cast if nobody says.
        portrait_prompt: of its portraits; None: it has none of its own.
        takes: how many are made of each shot if nobody says.
        critic: who chooses among them; None: nobody knows the model's shots.
        continue_with: how the memory LoRA continues a shot.
        note: what a user should know of it, each sentence with the name that it is said of.
        request: what was asked for.
    """

    model: ModelChoice
    first: ModelChoice | None
    sampling: Mapping[str, Any]
    negative_prompt: str
    continue_with: Literal["mi2v", "mm2v"]
    note: str
    memory: Mapping[str, Any] = field(default_factory=dict)
    portraits: bool = False
    portrait_prompt: str | None = None
    takes: int = 1
    critic: str | None = None
    request: ModelRequest = field(default_factory=ModelRequest)


def resolve_model(request: ModelRequest) -> ResolvedModel:
    """Find everything on this machine.

    Raises:
        ModelError: a name is unknown, not downloaded, or of the wrong kind; says what to do.
    """
    main, extra_loras = _with_base(request.model)
    kind = CATALOG[main].kind if main in CATALOG else "i2v"
    if kind != "i2v":
        raise ModelError(
            f"{main} is a model of the kind {kind}, which cannot make a film by itself: choose an i2v model "
            "(`storymem models list`)" + (", and give this one as --first-shot-model." if kind == "t2v" else ".")
        )
    loras = [(name, 1.0) for name in extra_loras] + list(request.loras)
    for name, _ in request.loras:
        entry = CATALOG.get(name)
        if entry is not None and entry.kind != "lora":
            raise ModelError(f"{name} is a model of the kind {entry.kind}, not a LoRA.")
    folder = locate(main)
    found = [LoraChoice(locate(name), weight) for name, weight in loras]
    base = CATALOG.get(main) or known_model(folder)
    on_it = [CATALOG.get(name) or known_lora(choice.path) for (name, _), choice in zip(loras, found, strict=True)]
    entries = [entry for entry in (base, *on_it) if entry is not None]
    # How often and by which solver a distilled model is asked is of no use to one that is not.
    distilled = any(entry is not None and {"num_inference_steps", "solver"} & set(entry.sampling) for entry in on_it)
    sampling: dict[str, Any] = {} if base is None else dict(base.sampling)
    # A folder that is not in the catalogue may say itself what it was made for.
    if main not in CATALOG:
        sampling = laid_over(sampling, read_sampling(folder))
    for entry in on_it:
        sampling = laid_over(sampling, {} if entry is None else entry.sampling)
    for (name, _), choice in zip(loras, found, strict=True):
        if name not in CATALOG and choice.path.is_dir():
            sampling = laid_over(sampling, read_sampling(choice.path))
    files = {
        name: Path(path)
        for name, path in (("transformer", request.transformer), ("transformer_2", request.transformer_2))
        if path is not None
    }
    model = ModelChoice(
        name=_shown(request.model),
        folder=folder,
        loras=tuple(found),
        files=files,
    )
    # What is said of a base alone is not true of it with a LoRA.
    spoken = [entry for entry in entries if entry.kind == "lora"] if loras else entries[:1]
    return ResolvedModel(
        model=model,
        first=_first(request.first_shot_model, whole=distilled),
        sampling=sampling,
        negative_prompt=next((entry.negative_prompt for entry in entries if entry.negative_prompt), ""),
        continue_with="mm2v" if any("mm2v" in entry.name for entry in entries) else "mi2v",
        note=" ".join(f"{entry.name}: {entry.note}" for entry in spoken if entry.note),
        memory={} if base is None else dict(base.memory),  # can be sent to another process
        portraits=base is not None and base.portraits,
        portrait_prompt=None if base is None else base.portrait_prompt,
        takes=1 if base is None else base.takes,
        critic=None if base is None else base.critic,
        request=request,
    )


def refuse_blind(resolved: ResolvedModel, story: Story, settings: FilmSettings) -> None:
    """See that the model can look at what the film's shots are to look at, before one of them is made.

    Raises:
        ModelError: it is a text-to-video model, and a shot sees memory or continues another; or one of its experts is.
    """
    choice = resolved.model
    if resolved.request.model in CATALOG and not choice.files:
        return  # of a kind that is known
    # A single shot remembers nothing made before it, but sees the pictures of its cast.
    remembers = len(story.shots) > 1 or story.references or portraits_of(story, settings)
    looks = (settings.memory.capacity and remembers) or not all(shot.cut for shot in story.shots)
    blind, experts = blind_experts(choice)
    if not blind or (len(blind) == experts and not looks):
        return
    given = [choice.files[name] for name in blind if name in choice.files]
    if given:
        raise ModelError(
            f"{given[0]}: is of a text-to-video model, which cannot see memory or given frames: give a file of an "
            "image-to-video model."
        )
    raise ModelError(
        f"{choice.name} is a text-to-video model, which cannot see memory or given frames: choose an image-to-video "
        "model (`storymem models list`) and give this one as --first-shot-model, or make a film of cuts with "
        "--memory-size 0."
    )


def _with_base(name: str) -> tuple[str, list[str]]:
    """A LoRA's name means its base with it."""
    entry = CATALOG.get(name)
    if entry is not None and entry.kind == "lora" and entry.base is not None:
        return entry.base, [name]
    return name, []


def _first(name: str | None, *, whole: bool) -> ModelChoice | None:
    """The first-shot model with settings of its own; `whole`: also its solver and number of steps."""
    if name is None:
        return None
    entry: ModelEntry | None = CATALOG.get(name)
    if entry is not None and entry.kind != "t2v":
        raise ModelError(f"{name} is a model of the kind {entry.kind}; a first-shot model is of the kind t2v.")
    # A folder that is not in the catalogue is taken for what the method uses, Wan2.2-T2V-A14B.
    sampling = (entry or CATALOG["wan2.2-t2v-a14b"]).sampling
    own = {key: value for key, value in sampling.items() if whole or key != "num_inference_steps"}
    if whole:
        own.setdefault("solver", SamplingConfig().solver)
    return ModelChoice(name=_shown(name), folder=locate(name), sampling=own)


def _shown(name: str) -> str:
    """A folder is called by its name: the way to it is of no interest to who sees the film."""
    return name if name in CATALOG else Path(name).expanduser().resolve().name


def _durable(name: str) -> str:
    if name in CATALOG:
        return name
    return str(Path(name).expanduser().resolve())


def split_weight(text: str) -> tuple[str, float]:
    """``NAME@0.5`` as name and weight; without a weight it is 1.

    Raises:
        ModelError: what stands behind the last ``@`` is no number (and no such file exists).
    """
    name, at, weight = text.rpartition("@")
    if not at or Path(text).exists():
        return text, 1.0
    try:
        number = float(weight)
        if not isfinite(number):
            raise ValueError(weight)
    except ValueError as error:
        raise ModelError(f"--lora {text}: {weight!r} is not a weight; write PATH@0.5, or PATH alone for 1.") from error
    return name, number


def parse_loras(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Several of `split_weight`."""
    return tuple(split_weight(text) for text in texts)
