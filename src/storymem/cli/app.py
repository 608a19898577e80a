"""The tree of commands and what happens to errors."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from storymem.cli import bench, data, doctor, film, memory, models, script, train, world
from storymem.errors import InputError, StoryMemError, is_of_the_place

__all__ = ["app", "run"]

# typer shows only this class of its own click; what it derives from is raised for every mistake in the options.
_UsageError: Any = typer.BadParameter.__base__
_SHOWN = 60  # letters around what is no UTF-8


def _tell_machines(message: str, exit_code: int) -> None:
    """Who reads events must find the error among them."""
    if "--json" in sys.argv[1:]:
        with suppress(OSError):  # events that go to a full disk; people are told on the other stream
            typer.echo(json.dumps({"event": "error", "message": message, "exit_code": exit_code}, ensure_ascii=False))


@contextmanager
def _usage_errors_told() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        _tell_machines(error.format_message(), error.exit_code)
        raise


class _Commands(TyperGroup):
    """The commands; what is wrong with the options themselves is told to machines too."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _usage_errors_told():
            return super().make_context(*args, **kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        with _usage_errors_told():
            return super().invoke(*args, **kwargs)


app = typer.Typer(
    name="storymem",
    cls=_Commands,
    help="Films of many shots, made by AI, in which everything stays itself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"storymem {version('storymem')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Films of many shots, made by AI, in which everything stays itself."""


film.register(app)
app.add_typer(memory.app, name="memory")
app.add_typer(script.app, name="script")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
train.register(app)
app.add_typer(world.app, name="world")
app.add_typer(bench.app, name="bench")
doctor.register(app)


def _speak_plainly() -> None:
    """A terminal or pipe that knows few letters gets escapes for the others; machines get UTF-8, as JSON must be."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8" if "--json" in sys.argv[1:] else None, errors="backslashreplace")


def _check_arguments() -> None:
    """Films, scripts and their records are UTF-8, and so must be the texts and paths that go into them.

    Raises:
        InputError: one is not.
    """
    for argument in sys.argv[1:]:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(
                f"{argument!r}: has bytes that are no UTF-8: give the text in UTF-8, or rename the file."
            ) from None


def _of_the_system(error: OSError) -> StoryMemError:
    """What the system refused where no command expected it: a folder that may not be looked into, say."""
    if error.filename is not None and is_of_the_place(error):
        return InputError(
            f"{error.filename}: cannot be used ({error.strerror}): choose another place or mend its rights."
        )
    return StoryMemError(str(error))


def run() -> None:
    """Run the command line; what can be mended ends with one clear sentence and the error's exit code, no traceback."""
    _speak_plainly()
    # Libraries' advice to developers (a missing torchvision, say) is no message for users; errors still are.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    try:
        try:
            _check_arguments()
            app(prog_name="storymem")  # also as `python -m storymem`, for completion
        except UnicodeEncodeError as error:
            if "surrogate" not in error.reason:
                raise
            # The arguments were looked at, so it came with the folder that they are seen from, one that a link leads
            # to, or a file in it.
            text = str(error.object)
            start = max(0, error.start - _SHOWN)
            raise InputError(
                f"{text[start : error.end + _SHOWN]!r}: a file or folder with this in its name has bytes that are no "
                "UTF-8, in which films keep their records: rename it."
            ) from error
        except OSError as error:
            raise _of_the_system(error) from error
    except StoryMemError as error:
        from rich.console import Console

        _tell_machines(str(error), error.exit_code)
        console = Console(stderr=True, soft_wrap=True)
        console.print("error:", style="bold red", end=" ")
        console.print(str(error), markup=False, highlight=False)
        sys.exit(error.exit_code)
