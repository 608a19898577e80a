"""`storymem train`: a training configuration, run to its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command(rich_help_panel="Models")(train)


def register_worlds() -> None:
    """Make the procedural worlds known to training, which itself knows none."""
    from storymem.training.clips import register_source
    from storymem.training.judging import register_judge

    register_source("storyland", _storyland)
    register_judge("storyland", _storyland_judge)


def _storyland(width: int, height: int, num_frames: int, options: Mapping[str, Any]) -> Any:
    from storymem.worlds.storyland.source import StorylandSource

    return StorylandSource(width, height, num_frames, options)


def _storyland_judge(options: Mapping[str, Any]) -> Any:
    from storymem.worlds.storyland.judge import StorylandJudge

    return StorylandJudge(options)


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file; see docs/training.md.", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE over the file, such as optimizer.learning_rate=1e-4; may be repeated."),
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on from a checkpoint although settings were changed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Records for machines: one JSON object per line.")] = False,
) -> None:
    """Train a VAE, a base model or its memory, going on where the last run stopped.

    On several devices: `torchrun --nproc-per-node 8 -m storymem train CONFIG`.
    """
    from storymem.training.config import load_config

    stage = load_config(config, tuple(settings or ()))
    register_worlds()
    from storymem.training.run import train as run

    result = run(stage, on_record=_print_json if as_json else _print_record, accept_changes=accept_changes)
    if not as_json:
        for path in result.outputs:
            typer.echo(f"written: {path}")


def _print_json(record: Mapping[str, Any]) -> None:
    import json

    typer.echo(json.dumps(dict(record)))


def _print_record(record: Mapping[str, Any]) -> None:
    numbers = (f"{name} {_short(value)}" for name, value in record.items() if name not in ("task", "step"))
    typer.echo(f"{record['task']} {record['step']}: {'  '.join(numbers)}")


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
