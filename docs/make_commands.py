"""Write docs/commands.md from the command line itself.

    python docs/make_commands.py [--check]

With ``--check`` nothing is written; the exit code is 1 if the file is not what the command line says today.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from typer.main import get_command

from storymem.cli.app import app

TARGET = Path(__file__).with_name("commands.md")
HEAD = """\
# Command reference

Written by `make docs` from the command line itself; `storymem COMMAND --help` says the same.

Exit codes: 0 done; 1 the machine failed (disk full, say); 2 the input is wrong, with one sentence that says where and
what to do; 130 stopped with Ctrl-C. Progress goes to the terminal; with `--json`, events go to standard output, one
JSON object per line.
"""


def walk(command: Any, path: str) -> Iterator[str]:
    """Markdown of a command and of all below it."""
    if not getattr(command, "commands", None):
        yield section(command, path)
    for name, sub in getattr(command, "commands", {}).items():
        yield from walk(sub, f"{path} {name}")


def section(command: Any, path: str) -> str:
    """One command: how it is called, what it does, and its options by panel."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    call = " ".join([path, *(("{}" if p.required else "[{}]").format(placeholder(p)) for p in arguments), "[OPTIONS]"])
    lines = [f"## `{path}`", "", f"`{call}`", "", text(command.help or ""), ""]
    if arguments:
        lines += ["| argument | |", "|---|---|"]
        lines += [f"| `{placeholder(p)}` | {text(p.help or '')} |" for p in arguments]
        lines.append("")
    panels: dict[str, list[Any]] = {}
    for option in options:
        if option.name != "help":
            panels.setdefault(getattr(option, "rich_help_panel", None) or "Options", []).append(option)
    for panel, members in panels.items():
        lines += [f"| {panel.lower()} | | default |", "|---|---|---|"]
        lines += [f"| {names(p)} | {text(p.help or '')} | {default(p)} |" for p in members]
        lines.append("")
    return "\n".join(lines)


def placeholder(param: Any) -> str:
    """What stands for the value of an argument."""
    return (param.metavar or param.name).upper() + ("..." if param.nargs == -1 else "")


def names(option: Any) -> str:
    """The spellings of an option, and the values that it takes."""
    said = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    annotation = option.type_descriptor.annotation
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Enum):
            return f"{said} {', '.join(str(choice.value) for choice in kind)}"
    return said


def default(option: Any) -> str:
    """The default, where it says something."""
    value = option.default
    if value is None or value is False or value is True or callable(value) or value == []:
        return "required" if option.required else ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def text(help_text: str) -> str:
    """Help on one line, safe in a table."""
    return " ".join(help_text.split()).replace("|", r"\|")


def render() -> str:
    """The whole page."""
    return HEAD + "\n" + "\n".join(walk(get_command(app), "storymem")).rstrip() + "\n"


if __name__ == "__main__":
    page = render()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == page else 1)
    TARGET.write_text(page, encoding="utf-8")
