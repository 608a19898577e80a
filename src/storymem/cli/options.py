"""The options that commands share, and what they mean together."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from storymem.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from storymem.film.export import Product
    from storymem.film.film_settings import FilmSettings
    from storymem.film.maker import ShotMaker
    from storymem.film.manifest import Manifest
    from storymem.film.pipeline_maker import PipelineShotMaker, Runtime
    from storymem.film.resolve import ModelRequest, ResolvedModel
    from storymem.film.tools import Tools
    from storymem.settings import MemoryConfig, SamplingConfig
    from storymem.story import Story
    from storymem.story.model import FilmDefaults


class Solver(StrEnum):
    """Choices of --solver."""

    unipc = "unipc"
    dpmpp = "dpm++"
    euler = "euler"


class Continue(StrEnum):
    """Choices of --continue-with."""

    mi2v = "mi2v"
    mm2v = "mm2v"


class RecallOption(StrEnum):
    """Choices of --recall."""

    all = "all"
    cast = "cast"
    cast_and_scene = "cast+scene"


class What(StrEnum):
    """Choices of --what."""

    film = "film"
    sheet = "sheet"
    clips = "clips"
    timeline = "timeline"


_SHAPE = ("width", "height", "num_frames", "fps")  # of a film: no other LoRA changes them

_Kinship = Literal["same", "changed", "renewed", "other"]

MODEL, MEMORY, SAMPLING, MACHINE = "Model", "Memory", "Sampling", "Machine"

Folder = Annotated[Path, typer.Argument(help="The film's folder.", show_default=False)]
ShotId = Annotated[str, typer.Argument(help="The shot, such as 01-02 (see `storymem status`).", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Events for machines: one JSON object per line.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=MACHINE)]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.", rich_help_panel=MACHINE)]
OffloadOption = Annotated[
    str,
    typer.Option(
        "--offload", help="What waits in main memory: none, model, group or sequential.", rich_help_panel=MACHINE
    ),
]
Attention = Annotated[
    str | None, typer.Option(help="A diffusers attention backend, such as flash or sage.", rich_help_panel=MACHINE)
]
VaeTiling = Annotated[bool, typer.Option("--vae-tiling", help="Decode in tiles: less memory.", rich_help_panel=MACHINE)]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="A name (`storymem models list`), or an original Wan2.2 or diffusers folder.", rich_help_panel=MODEL
    ),
]
LoraOption = Annotated[
    list[str] | None,
    typer.Option(help="A LoRA: name, folder or file, PATH@0.5 for a weight. May be repeated.", rich_help_panel=MODEL),
]
FirstShotModel = Annotated[
    str | None,
    typer.Option(help="A text-to-video model (name or folder) for shots that see nothing.", rich_help_panel=MODEL),
]
Transformer = Annotated[
    str | None, typer.Option(help="A single file for the high-noise expert (safetensors, gguf).", rich_help_panel=MODEL)
]
Transformer2 = Annotated[
    str | None, typer.Option("--transformer-2", help="The same for the low-noise expert.", rich_help_panel=MODEL)
]


def film_settings(
    story: Story,
    resolved: ResolvedModel,
    before: Manifest | None,
    maker: ShotMaker | None = None,
    *,
    sampling: dict[str, Any],
    memory: dict[str, Any],
    seed: int | None,
    continue_with: Continue | None,
    negative_prompt: str | None,
    portraits: bool | None = None,
) -> FilmSettings:
    """The settings of a film: options over the script over what the film has over what the model was made for.

    Of a film that is gone on with, a script says what it says otherwise than before; the rest the film has decided. A
    film does not tell what of that its user said from what its model did, so how much stays is up to the model:

    - the film's own weights, wherever they lie now: everything;
    - the same model with another LoRA, another first-shot model or another file: size, length and rate, the memory, the
      seed, the negative prompt and whether there are portraits; with the same LoRA, how shots are continued. How a shot
      is sampled is the new one's own;
    - other weights under the same name, of a newer storymem or trained again: what the model says nothing of was said
      by the user. So of size, length, rate, memory and portraits that stays which the model says nothing of, and the
      seed and a negative prompt do. How a shot is sampled is as of today;
    - another model: nothing.

    Args:
        story: the story.
        resolved: the model.
        before: the film as it is, if it is gone on with.
        maker: of the model, if there is a film before: it knows whether the weights are the film's own. Without it,
            those that were asked for in the same words are taken for that.
        sampling: options for `SamplingConfig`; None is not given.
        memory: options for `MemoryConfig`, likewise.
        seed: option.
        continue_with: option.
        negative_prompt: option.
        portraits: option.
    """
    from dataclasses import replace

    from storymem.film.film_settings import FilmSettings

    sampling, memory = given(**sampling), given(**memory)
    base: dict[str, Any] = dict(resolved.sampling)
    base_memory: dict[str, Any] = dict(resolved.memory)
    of_film: dict[str, Any] = {}  # what stays beside sampling and memory
    if before is not None:
        own, kin = before.settings, _kinship(resolved, before, maker)
        base |= (kept_sampling := _kept(own.sampling, resolved.sampling, kin, names=_SHAPE))
        base_memory |= (kept_memory := _kept(own.memory, resolved.memory, kin))
        if kin != "other":
            of_film = {"seed": own.seed, "negative_prompt": own.negative_prompt, "portraits": own.portraits}
        if kin == "renewed":  # an empty one cannot be told from none, nor "no" from a model that had none
            of_film["negative_prompt"] = own.negative_prompt or None
            of_film["portraits"] = None if resolved.portraits else own.portraits
        decided = {*kept_sampling, *kept_memory, *given(**of_film)}  # what the film has an answer to
        if "num_frames" in decided:
            decided.add("duration")
        if kin == "same":
            of_film["portrait_prompt"] = own.portrait_prompt
        if kin == "same" or (kin == "changed" and not _has_other_loras(resolved, before)):
            of_film["continue_with"] = own.continue_with
        rate = sampling.get("fps"), base.get("fps", own.sampling.fps)
        story = replace(story, defaults=_said_anew(story.defaults, before, decided, rate=rate))
    said_sampling, said_memory = set(story.defaults.sampling()), story.defaults.memory()
    if story.defaults.duration is not None:
        said_sampling.add("num_frames")
    if "guidance_scale" in said_sampling:  # one number given means both experts
        said_sampling.add("guidance_scale_2")
    if "guidance_scale" in sampling and "guidance_scale_2" not in sampling:
        sampling["guidance_scale_2"] = sampling["guidance_scale"]
    if "capacity" in memory and "sink" not in memory and "sink" not in said_memory:
        # A bank smaller than the sink takes the sink down with it.
        memory["sink"] = min(base_memory.get("sink", 3), max(memory["capacity"], 0))
    return FilmSettings.for_story(
        story,
        sampling={**{key: value for key, value in base.items() if key not in said_sampling}, **sampling},
        memory={**{key: value for key, value in base_memory.items() if key not in said_memory}, **memory},
        seed=_first_said(seed, story.defaults.seed, of_film.get("seed")),
        continue_with=_first_said(
            None if continue_with is None else continue_with.value,
            of_film.get("continue_with"),
            resolved.continue_with,
        ),
        negative_prompt=_first_said(
            negative_prompt, story.defaults.negative_prompt, of_film.get("negative_prompt"), resolved.negative_prompt
        ),
        portraits=_first_said(portraits, story.defaults.portraits, of_film.get("portraits"), resolved.portraits),
        portrait_prompt=_first_said(of_film.get("portrait_prompt"), resolved.portrait_prompt),
    )


def _kinship(resolved: ResolvedModel, before: Manifest, maker: ShotMaker | None) -> _Kinship:
    """How the model that is asked for is related to the film's; see `film_settings`."""
    asked, had = resolved.request.to_json(), before.tools.description.get("request")
    if asked == had if maker is None else maker.identity == before.tools.model:
        return "same"
    if not isinstance(had, dict) or asked["model"] != had.get("model"):
        return "other"
    return "renewed" if asked == had else "changed"


def _has_other_loras(resolved: ResolvedModel, before: Manifest) -> bool:
    """Whether the LoRAs that are asked for are not the film's; which frames a shot is given is a matter of those."""
    return bool(resolved.request.to_json()["loras"] != before.tools.description["request"].get("loras"))


def _kept(
    own: SamplingConfig | MemoryConfig, of_model: Mapping[str, Any], kin: _Kinship, *, names: Collection[str] = ()
) -> dict[str, Any]:
    """What stays of the film's sampling or memory.

    Args:
        own: the film's.
        of_model: what today's model says.
        kin: how the models are related.
        names: all that can stay with weights that are not the film's own; none given is everything.
    """
    from dataclasses import asdict

    values = asdict(own)
    if kin == "other":
        return {}
    if kin != "same" and names:
        values = {name: values[name] for name in names}
    return {name: value for name, value in values.items() if kin != "renewed" or name not in of_model}


def _said_anew(
    defaults: FilmDefaults, before: Manifest, decided: set[str], *, rate: tuple[int | None, int]
) -> FilmDefaults:
    """What a script says otherwise than it did when the film decided; at another rate its seconds are counted again.

    Args:
        defaults: of the script.
        before: the film.
        decided: fields of the defaults that the film has an answer to.
        rate: frames per second as an option says them, and as they are if neither option nor script says them anew.
    """
    from dataclasses import asdict, replace

    now, old, (asked, otherwise) = asdict(defaults), asdict(before.story.defaults), rate
    said = replace(defaults, **{name: None for name in decided & now.keys() if now[name] == old[name]})
    is_another = (asked or said.fps or otherwise) != before.settings.sampling.fps
    return replace(said, duration=defaults.duration) if is_another else said


def refuse_contradictions(settings: FilmSettings, *, portraits: bool | None, quality: float | None) -> None:
    """See that options ask for nothing that the film's settings rule out.

    Args:
        settings: of the film.
        portraits: option.
        quality: option.

    Raises:
        SettingsError: they do.
    """
    if portraits and not settings.memory.capacity:
        raise SettingsError(
            "--portraits and a memory of size 0 contradict each other, since portraits are made to be remembered: "
            "leave --portraits out, or give a larger --memory-size."
        )
    if quality is not None and settings.memory.scorer == "none":
        raise SettingsError(
            "--quality and the scorer none contradict each other, since nothing is scored then: leave --quality out, "
            "or give another --scorer, such as builtin."
        )


def model_request(
    story: Story,
    before: Manifest | None,
    *,
    model: str | None,
    lora: list[str] | None,
    first_shot_model: str | None = None,
    transformer: str | None = None,
    transformer_2: str | None = None,
) -> ModelRequest:
    """The model that is asked for: by options, else by the script, else the film's own, else the default.

    Of a film that is gone on with, a script asks for a model if it names another one than before. Options that change
    the film's own model (another LoRA, say) are laid over it.
    """
    from dataclasses import replace

    from storymem.film.resolve import ModelRequest, parse_loras

    own, said = request_of(before), story.defaults
    old = None if own is None or before is None else before.story.defaults
    request = own or ModelRequest()
    if said.model is not None and (old is None or said.model != old.model):
        request, old = ModelRequest(model=said.model), None
    if said.lora is not None and (old is None or said.lora != old.lora):
        request = replace(request, loras=parse_loras([said.lora]))
    if model is not None:
        request = ModelRequest(model=model)
    if lora is not None:
        request = replace(request, loras=parse_loras(lora))
    files = given(first_shot_model=first_shot_model, transformer=transformer, transformer_2=transformer_2)
    return replace(request, **files)


def request_of(manifest: Manifest | None) -> ModelRequest | None:
    """The model that a film was made with, as its user named it."""
    from storymem.film.resolve import ModelRequest

    data = None if manifest is None else manifest.tools.description.get("request")
    return ModelRequest.from_json(data) if isinstance(data, dict) else None


def runtime_of(device: str, dtype: str, offload: str, attention: str | None, vae_tiling: bool) -> Runtime:
    """Where and how the model runs, from the options."""
    from storymem.film.pipeline_maker import Runtime

    return Runtime(device=device, dtype=dtype, offload=offload, attention=attention, vae_tiling=vae_tiling)  # type: ignore[arg-type]  # checked inside


def maker_of(resolved: ResolvedModel, runtime: Runtime) -> PipelineShotMaker:
    """What makes shots with a model that was found."""
    from storymem.film.pipeline_maker import PipelineShotMaker

    return PipelineShotMaker(resolved.model, first=resolved.first, runtime=runtime, request=resolved.request.to_json())


def tools_of(maker: PipelineShotMaker, memory: MemoryConfig, before: Manifest | None = None) -> Tools:
    """The maker with the encoder and the scorer that the memory asks for, on its device, read when they are needed.

    Args:
        maker: makes the shots.
        memory: names them.
        before: the film that is gone on with, which knows them by an identity.
    """
    from storymem.film.choosers import encoder_for, scorer_for
    from storymem.film.tools import Tools

    device = str(maker.runtime.resolve()[0])
    return Tools(
        maker=maker,
        encoder=encoder_for(memory.encoder, device=device, known=None if before is None else before.tools.encoder),
        scorer=scorer_for(
            memory.scorer,
            device=device,
            rests=maker.runtime.offload != "none",
            known=None if before is None else before.tools.scorer,
        ),
    )


def given(**values: Any) -> dict[str, Any]:
    """The options that were given: those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _first_said(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def encoder_name(text: str) -> str:
    """The frame encoder as the film keeps it: a folder by its whole path, so that it is found from another folder."""
    from storymem.memory.encoders import ENCODERS

    path = Path(text).expanduser()
    return text if text in ENCODERS or not path.is_dir() else str(path.resolve())


def parse_size(text: str | None) -> tuple[int | None, int | None]:
    """Width and height of ``832x480``; twice None if it is not given.

    Raises:
        SettingsError: it is something else.
    """
    if text is None:
        return None, None
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise SettingsError(f"--size is {text!r}; write WIDTHxHEIGHT in pixels, such as 832x480.")
    return int(width), int(height)


def products_of(what: list[What] | None) -> tuple[Product, ...]:
    """What to export: everything unless something is named."""
    from storymem.film.export import PRODUCTS

    return PRODUCTS if not what else tuple(product for product in PRODUCTS if product in {item.value for item in what})
