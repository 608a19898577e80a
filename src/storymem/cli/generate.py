"""`storymem generate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storymem.cli.film_options import film_settings, refuse_contradictions
from storymem.cli.film_work import export_products, is_complete, moved_notes, say_stale, stopping_cleanly
from storymem.cli.options import (
    MACHINE,
    MEMORY,
    SAMPLING,
    AsJson,
    Attention,
    Continue,
    Device,
    Dtype,
    FirstShotModel,
    LoraOption,
    ModelOption,
    OffloadOption,
    RecallOption,
    Solver,
    Transformer,
    Transformer2,
    VaeTiling,
    What,
    encoder_name,
    maker_of,
    model_request,
    parse_size,
    products_of,
    runtime_of,
    tools_of,
)
from storymem.errors import SettingsError

if TYPE_CHECKING:
    from storymem.cli.show import Show
    from storymem.film.export import Product
    from storymem.film.film_settings import FilmSettings
    from storymem.film.project import Film
    from storymem.film.tools import Tools
    from storymem.story import Story

__all__ = ["generate"]


def generate(
    script: Annotated[
        Path,
        typer.Argument(
            help="A story script: our YAML, or ST-Bench JSON; or a film's folder, to go on with the script in it.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The film's folder, if it is not given.", show_default=False)
    ] = None,
    model: ModelOption = None,
    lora: LoraOption = None,
    first_shot_model: FirstShotModel = None,
    transformer: Transformer = None,
    transformer_2: Transformer2 = None,
    size: Annotated[str | None, typer.Option(help="Such as 832x480.", rich_help_panel=SAMPLING)] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a shot, 4k + 1.", rich_help_panel=SAMPLING)] = None,
    fps: Annotated[int | None, typer.Option(help="Frames per second.", rich_help_panel=SAMPLING)] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", rich_help_panel=SAMPLING)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the film; every shot's follows from it.", rich_help_panel=SAMPLING)
    ] = None,
    takes: Annotated[
        int | None, typer.Option(help="Of each shot; the critic puts the best into the film.", rich_help_panel=SAMPLING)
    ] = None,
    critic: Annotated[
        str | None,
        typer.Option(help="Who chooses among takes: storyland, or none for the first.", rich_help_panel=SAMPLING),
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="Of the high-noise expert.", rich_help_panel=SAMPLING)] = None,
    guidance_2: Annotated[
        float | None, typer.Option("--guidance-2", help="Of the low-noise expert.", rich_help_panel=SAMPLING)
    ] = None,
    guidance_every: Annotated[
        int | None,
        typer.Option(help="Ask for guidance at every so many steps: faster, less exact.", rich_help_panel=SAMPLING),
    ] = None,
    shift: Annotated[float | None, typer.Option(help="Flow shift.", rich_help_panel=SAMPLING)] = None,
    boundary: Annotated[
        float | None, typer.Option(help="Where the experts change, 0 to 1.", rich_help_panel=SAMPLING)
    ] = None,
    solver: Annotated[Solver | None, typer.Option(help="Of the flow.", rich_help_panel=SAMPLING)] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="Of every shot without its own.", rich_help_panel=SAMPLING)
    ] = None,
    memory_stride: Annotated[
        int | None, typer.Option(help="S of the negative RoPE shift.", rich_help_panel=MEMORY)
    ] = None,
    memory_guidance: Annotated[
        float | None, typer.Option(help="How strongly memory leads a shot; 1 is the method's.", rich_help_panel=MEMORY)
    ] = None,
    memory_size: Annotated[
        int | None, typer.Option(help="Keyframes in the bank at most; 0: no memory.", rich_help_panel=MEMORY)
    ] = None,
    memory_sink: Annotated[int | None, typer.Option(help="First keyframes that stay.", rich_help_panel=MEMORY)] = None,
    keyframes: Annotated[
        int | None, typer.Option(help="New keyframes per shot at most.", rich_help_panel=MEMORY)
    ] = None,
    similarity: Annotated[
        float | None, typer.Option(help="Above it, a frame repeats a keyframe.", rich_help_panel=MEMORY)
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(help="Score that a keyframe needs; the scorer's own if not given.", rich_help_panel=MEMORY),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Of frames: builtin, clip-vit-b32, or a CLIP folder.", rich_help_panel=MEMORY)
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(help="Of quality: builtin, hpsv3, none.", rich_help_panel=MEMORY)
    ] = None,
    recall: Annotated[
        RecallOption | None,
        typer.Option(
            help="What a shot sees: all, the cast that it names, or also the last of its scene.",
            rich_help_panel=MEMORY,
        ),
    ] = None,
    portraits: Annotated[
        bool | None,
        typer.Option(
            "--portraits/--no-portraits",
            help="Make a portrait of every described character first.",
            rich_help_panel=MEMORY,
            show_default=False,
        ),
    ] = None,
    continue_with: Annotated[
        Continue | None,
        typer.Option(help="A shot without a cut begins with the last frame, or five.", rich_help_panel=MEMORY),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    attention: Attention = None,
    vae_tiling: VaeTiling = False,
    batch_cfg: Annotated[
        bool, typer.Option("--batch-cfg", help="Both guidance branches in one batch.", rich_help_panel=MACHINE)
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and make nothing.")] = False,
    remake: Annotated[
        bool, typer.Option("--remake", help="Make stale shots again, and take over changed settings.")
    ] = False,
    until: Annotated[
        str | None, typer.Option(help="Stop after this shot; `portraits` to look at those first.", show_default=False)
    ] = None,
    what: Annotated[
        list[What] | None, typer.Option(help="Export only this (may be repeated). Default: everything.")
    ] = None,
    no_export: Annotated[bool, typer.Option("--no-export", help="Make the shots only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a film of a story script. Run the same command again to go on where it stopped."""
    from storymem.cli.plan import show_preview
    from storymem.cli.remarks import remarks
    from storymem.film.portraits import shots_until
    from storymem.film.project import Film
    from storymem.film.resolve import refuse_blind, resolve_model
    from storymem.story import load_story

    if what and no_export:
        raise SettingsError("--what and --no-export contradict each other: give one of them.")
    named, (script, output) = script, _script_and_folder(script, output)
    begun = Film.open(output).manifest if Film.is_in(output) else None
    # Where nothing is made yet, nothing is decided: a slip of the pen that was stopped must not stay. Whoever gives the
    # film in place of a script means what there is, though.
    is_given = Film.is_in(named) and named.resolve() == output.resolve()
    before = begun if begun is not None and (begun.kept or is_given) else None
    story = load_story(script, pictures_kept=Film.keeps_pictures(output))
    request = model_request(
        story,
        before,
        model=model,
        lora=lora,
        first_shot_model=first_shot_model,
        transformer=transformer,
        transformer_2=transformer_2,
    )
    resolved = resolve_model(request)
    width, height = parse_size(size)
    maker = maker_of(resolved, runtime_of(device, dtype, offload, attention, vae_tiling))
    settings = film_settings(
        story,
        resolved,
        before,
        maker,
        sampling={
            "width": width,
            "height": height,
            "num_frames": frames,
            "fps": fps,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "guidance_scale_2": guidance_2,
            "guidance_every": guidance_every,
            "shift": shift,
            "boundary_ratio": boundary,
            "solver": None if solver is None else solver.value,
            "memory_stride": memory_stride,
            "memory_guidance_scale": memory_guidance,
            "batch_cfg": batch_cfg,  # of the machine, so it is said anew each time
        },
        memory={
            "capacity": memory_size,
            "sink": memory_sink,
            "max_keyframes_per_shot": keyframes,
            "similarity_threshold": similarity,
            "quality_threshold": quality,
            "encoder": None if encoder is None else encoder_name(encoder),
            "scorer": scorer,
            "recall": None if recall is None else recall.value,
        },
        seed=seed,
        continue_with=continue_with,
        negative_prompt=negative_prompt,
        portraits=portraits,
        takes=takes,
        critic=critic,
    )
    refuse_contradictions(settings, portraits=portraits, quality=quality, critic=critic)
    refuse_blind(resolved, story, settings)
    tools = tools_of(maker, settings.memory, before, critic=settings.critic)
    notes = remarks(story, settings, resolved)
    if begun is not None and before is None:
        notes += _not_kept(output, begun.differences(settings, tools.facts(settings.memory)))
    shots_until(story, settings, until)  # refuses what is not there before anything is written
    if dry_run:
        film = Film.preview(
            output, story=story, script=script.read_bytes(), settings=settings, tools=tools, adopt_settings=remake
        )
        show_preview(film, tools, notes, as_json=as_json, remake=remake, until=until)
        return
    _generate(output, story, script.read_bytes(), settings, tools, notes, remake=remake, until=until,
              products=None if no_export else products_of(what), as_json=as_json)  # fmt: skip


def _not_kept(folder: Path, differences: Sequence[str]) -> list[str]:
    """What to know of settings that an earlier start had and that this one has not; nothing if there are none."""
    if not differences:
        return []
    return [
        f"{folder}: nothing is made yet, so the settings of an earlier start do not stay: {'; '.join(differences)}. "
        "Give its options again if they are still meant."
    ]


def _script_and_folder(given: Path, output: Path | None) -> tuple[Path, Path]:
    """A script, and where its film is or goes: of a film's folder the script that lies in it."""
    from storymem.film.project import Film

    if Film.is_in(given):
        kept = given / Film.open(given).manifest.script_name
        if not kept.exists():
            raise SettingsError(f"{kept}: the film's copy of its script is gone: give another copy, with -o {given}.")
        return kept, given if output is None else output
    if given.is_dir():
        raise SettingsError(f"{given}: there is no film in this folder: give a script, or the folder of a film.")
    if output is None:
        raise SettingsError(f"Say which folder the film goes to, such as -o {Path('films') / given.stem}.")
    return given, output


def _generate(
    output: Path,
    story: Story,
    script: bytes,
    settings: FilmSettings,
    tools: Tools,
    notes: Sequence[str],
    *,
    remake: bool,
    until: str | None,
    products: tuple[Product, ...] | None,
    as_json: bool,
) -> None:
    from storymem.cli.show import showing
    from storymem.film.director import Director
    from storymem.film.events import FilmPlanned
    from storymem.film.project import Film

    with showing(as_json=as_json) as show, stopping_cleanly(show, "run the same command again to go on"):
        for note in notes:
            show.say("note", note)
        with Film.begin(
            output, story=story, script=script, settings=settings, tools=tools, adopt_settings=remake
        ) as film:
            for event in Director(film, tools).generate(remake_stale=remake, until=until, on_step=show):
                show(event)
                if isinstance(event, FilmPlanned):
                    for note in moved_notes(film, event.shots):
                        show.say("warning", note)
            say_stale(show, film)
            if film.edited_script is not None:
                kept = f"the script in the film's folder had been edited; that one is kept as {film.edited_script}."
                show.say("note", kept, file=str(film.edited_script))
            last = None if until is None else film.manifest.shots_until(until)[-1].id
            if last is not None:
                _say_portraits(show, film)
            if last is not None and not _is_made_after(last, film):
                rest = f"Made up to {last}, and not exported: run the same command without --until for the rest."
                show.say("stopped", rest, shot_id=last)
            elif products is not None:
                export_products(film, products, show)


def _is_made_after(last: str, film: Film) -> bool:
    """Whether every shot after this one is in the film as it is to be; a stale one may not even fit those before."""
    from storymem.film.plan import plan_film

    plan = plan_film(film)
    ids = [planned.shot.id for planned in plan]
    return is_complete(film) and all(planned.status == "done" for planned in plan[ids.index(last) + 1 :])


def _say_portraits(show: Show, film: Film) -> None:
    """Where the portraits are that one wants to look at before going on."""
    for portrait in film.manifest.portraits:
        if (take := film.chosen_take(portrait.id)) is not None:
            show.say(
                "portrait", f"  {portrait.id}: {take.previews[0]}", shot_id=portrait.id, file=str(take.previews[0])
            )
