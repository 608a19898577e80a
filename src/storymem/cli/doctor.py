"""`storymem doctor`: what this machine can run, and what each model needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from storymem.models.doctor import Machine, Verdict

__all__ = ["register"]


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show what this machine can run, and what each model needs."""
    from storymem.models.doctor import examine, judge_all

    machine = examine()
    verdicts = judge_all(machine)
    if as_json:
        report = {"machine": machine.as_json(), "models": [verdict.as_json() for verdict in verdicts]}
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    from rich.console import Console

    _print_machine(Console(markup=False, emoji=False), machine)  # paths and titles are shown as they are
    _print_models(Console(), verdicts)


def _print_machine(console: Console, machine: Machine) -> None:
    from rich.table import Table

    gib = 2**30
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("system", f"{machine.system}, Python {machine.python}")
    table.add_row("packages", ", ".join(f"{name} {version or 'missing'}" for name, version in machine.packages.items()))
    table.add_row("optional", ", ".join(f"{n} {v or 'not installed'}" for n, v in machine.extras.items()))
    for device in machine.devices:
        memory = f"{device.memory / gib:.0f} GiB ({device.free / gib:.0f} free)"
        table.add_row(device.name, f"{device.title}, {memory}")
    if not machine.devices:
        table.add_row("GPU", "none that PyTorch can use")
    table.add_row("CPU", f"{machine.cpu_threads} threads")
    table.add_row("memory", f"{machine.ram / gib:.0f} GiB ({machine.ram_free / gib:.0f} free)")
    table.add_row("models in", f"{machine.models} ({machine.disk_free / 1e9:.0f} GB free)")
    table.add_row(
        "codecs", ", ".join(f"{name} {'yes' if there else 'MISSING'}" for name, there in machine.codecs.items())
    )
    console.print(table)


def _print_models(console: Console, verdicts: list[Verdict]) -> None:
    from rich.table import Table

    gib = 2**30
    # What may be wrapped stands last: numbers are not torn from their units.
    table = Table("model", "here", "GPU", "RAM", "download", "this machine can run it", box=None, pad_edge=False)
    for column in table.columns[:-1]:
        column.no_wrap = True
    for verdict in verdicts:
        need = verdict.best or verdict.least
        item = verdict.entry
        way = f"{verdict.best.way} ({verdict.best.option})" if verdict.best else "[red]no[/]"
        if not verdict.installed and not verdict.room:
            way += "; [red]too little disk[/]"
        size = f"{item.download_gb:g} GB" if item.repo else "-"
        gpu = f"{need.gpu / gib:.0f} GiB" if need.gpu else "-"
        table.add_row(item.name, "yes" if verdict.installed else "no", gpu, f"{need.ram / gib:.0f} GiB", size, way)
    console.print()
    console.print(table)
    if any(verdict.best is None for verdict in verdicts):
        console.print("\nWhere the answer is no, GPU and RAM are the least that the model needs.")
    console.print("\nMemory is estimated for a shot of 81 frames at 832x480 with ten keyframes, not measured.")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("doctor")(doctor)
