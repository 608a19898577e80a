"""`retake`, `choose`, `status` and `export`; and registers all commands of films."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from storymem.cli.film_work import export_products, is_complete, say_stale, stopping_cleanly
from storymem.cli.generate import generate
from storymem.cli.options import (
    AsJson,
    Attention,
    Device,
    Dtype,
    Folder,
    LoraOption,
    ModelOption,
    OffloadOption,
    ShotId,
    VaeTiling,
    What,
    maker_of,
    model_request,
    products_of,
    runtime_of,
    tools_of,
)
from storymem.cli.tidy import tidy
from storymem.errors import StorageError, StoryMemError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    for command in (generate, retake, choose, status, export, tidy):
        app.command(rich_help_panel="Films")(command)


def retake(
    folder: Folder,
    shot: ShotId,
    seed: Annotated[int | None, typer.Option(help="Of the new take; the shot's next one if not given.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Of the new take; its seed then stays, unless given.")] = None,
    model: ModelOption = None,
    lora: LoraOption = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    attention: Attention = None,
    vae_tiling: VaeTiling = False,
    no_export: Annotated[bool, typer.Option("--no-export", help="Make the shot only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make another take of one shot with the film's own model; the old take is kept beside it."""
    from storymem.cli.show import showing
    from storymem.film.director import Director
    from storymem.film.export import PRODUCTS
    from storymem.film.project import Film
    from storymem.film.resolve import resolve_model

    with Film.work(folder) as film:
        request = model_request(film.manifest.story, film.manifest, model=model, lora=lora)
        maker = maker_of(resolve_model(request), runtime_of(device, dtype, offload, attention, vae_tiling))
        tools = tools_of(maker, film.manifest.settings.memory, film.manifest)
        with showing(as_json=as_json) as show:
            with stopping_cleanly(show, "run the same command again"):
                for event in Director(film, tools).retake(shot, seed=seed, prompt=prompt, on_step=show):
                    show(event)
            say_stale(show, film)
            if not no_export and is_complete(film):
                # The same command again would make yet another take.
                remedy = f"the new take is in the film, and `storymem export {folder}` writes the film with it"
                with stopping_cleanly(show, remedy), _told_with(remedy):
                    export_products(film, PRODUCTS, show)


@contextmanager
def _told_with(remedy: str) -> Iterator[None]:
    """Errors end with how to go on, and not with the command that was given."""
    try:
        yield
    except StoryMemError as error:
        told = StoryMemError(f"{error.what if isinstance(error, StorageError) else str(error).rstrip('.')}; {remedy}.")
        told.exit_code = error.exit_code
        raise told from error


def choose(
    folder: Folder,
    shot: ShotId,
    take: Annotated[
        str, typer.Argument(help="The beginning of the take's key (see `storymem status`).", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Put another take of a shot into the film. Then `storymem export` writes the film again."""
    from storymem.cli.show import showing
    from storymem.film.project import Film

    with Film.work(folder) as film, showing(as_json=as_json) as show:
        chosen = film.choose(shot, take)
        text = f"Shot {shot}: take {chosen.key[:16]} is in the film; `storymem export {folder}` writes the film anew."
        show.say("chosen", text, shot_id=shot, key=chosen.key)
        say_stale(show, film)


def status(
    folder: Folder,
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte of every take.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a film's shots and takes, and what is missing, stale or damaged. Works while the film is being made."""
    from storymem.cli.plan import show_plan
    from storymem.film.plan import plan_film
    from storymem.film.project import Film

    film = Film.open(folder)
    show_plan(film, plan_film(film, verify=verify), as_json=as_json)


def export(
    folder: Folder,
    what: Annotated[list[What] | None, typer.Option(help="Only this (may be repeated). Default: everything.")] = None,
    to: Annotated[Path | None, typer.Option(help="Another folder than the film's.", show_default=False)] = None,
    crf: Annotated[
        int | None,
        typer.Option(min=0, max=51, help="H.264 quality, 0 (lossless) to 51; the last export's, or 17, if not given."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Write also what is there and up to date.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the film, its clips, the contact sheet and the timelines from the takes as they are."""
    from storymem.cli.show import showing
    from storymem.film.export import is_elsewhere
    from storymem.film.project import Film

    with (
        # A film that is only read may lie on a disk that cannot be written to.
        nullcontext(Film.open(folder)) if is_elsewhere(folder, to) else Film.work(folder) as film,
        showing(as_json=as_json) as show,
        stopping_cleanly(show, "run the same command again"),
    ):
        export_products(film, products_of(what), show, folder=to, crf=crf, again=again)
