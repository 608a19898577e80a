"""Write docs/commands.md from the command line itself.

    python docs/make_commands.py [--check]

With ``--check`` nothing is written; the exit code is 1 if the file is not what the command line says today.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer.main
from storymem.cli.app import app

TARGET = Path(__file__).with_name("commands.md")


def walk(command: typer.main.click.Command, path: str, parent: object = None) -> Iterator[str]:
    """Markdown of one command and of all below it."""
    context = typer.main.click.Context(command, info_name=path, parent=None)
    if path != "storymem":
        yield f"## `{path}`\n\n```text\n{plain_help(command, context)}\n```\n"
    for name, sub in sorted(getattr(command, "commands", {}).items()):
        yield from walk(sub, f"{path} {name}", context)


def plain_help(command: typer.main.click.Command, context: typer.main.click.Context) -> str:
    """The help text without boxes or colours, whatever the terminal."""
    formatter = context.make_formatter()
    formatter.width = 118
    typer.main.click.Command.format_usage(command, context, formatter)
    typer.main.click.Command.format_help_text(command, context, formatter)
    typer.main.click.Command.format_options(command, context, formatter)
    return formatter.getvalue().rstrip()


def render() -> str:
    """The whole page."""
    head = "# Command reference\n\nWritten by `make docs` from the command line itself.\n\n"
    return head + "\n".join(walk(typer.main.get_command(app), "storymem"))


if __name__ == "__main__":
    text = render()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text else 1)
    TARGET.write_text(text, encoding="utf-8")
