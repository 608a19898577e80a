"""The options that commands share, and what they mean together."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from storymem.errors import SettingsError

if TYPE_CHECKING:
    from storymem.film.critics import Critic
    from storymem.film.export import Product
    from storymem.film.manifest import Manifest
    from storymem.film.pipeline_maker import PipelineShotMaker, Runtime
    from storymem.film.resolve import ModelRequest, ResolvedModel
    from storymem.film.tools import Tools
    from storymem.settings import MemoryConfig
    from storymem.story import Story


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


def tools_of(
    maker: PipelineShotMaker, memory: MemoryConfig, before: Manifest | None = None, *, critic: str | None = None
) -> Tools:
    """The maker with the encoder, scorer and critic that the film asks for, on its device, read when they are needed.

    Args:
        maker: makes the shots.
        memory: names encoder and scorer.
        before: the film that is gone on with, which knows them by an identity.
        critic: its name; None: nobody chooses among takes.

    Raises:
        ModelError: there is no such encoder or scorer.
        SettingsError: there is no such critic.
    """
    from storymem.film.choosers import critic_for, encoder_for, scorer_for
    from storymem.film.critics import NO_CRITIC, register_critic
    from storymem.film.tools import Tools

    register_critic("storyland", _storyland_critic)
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
        critic=critic_for(critic or NO_CRITIC),
    )


def _storyland_critic() -> Critic:
    from storymem.worlds.storyland.critic import StorylandCritic

    return StorylandCritic()


def given(**values: Any) -> dict[str, Any]:
    """The options that were given: those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


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
