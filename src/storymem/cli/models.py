"""`storymem models`: what can be asked for by name; downloading and checking it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from storymem.errors import ModelError
from storymem.models.catalog import CATALOG, ModelEntry, entry
from storymem.models.store import folder_of, locate, models_folder, read_lock

if TYPE_CHECKING:
    from storymem.models.check import CheckRow

__all__ = ["app"]

app = typer.Typer(help="List, download and check models.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _plain(item: ModelEntry) -> dict[str, Any]:
    lock = read_lock(item)
    return {
        "name": item.name,
        "title": item.title,
        "kind": item.kind,
        "licence": item.licence,
        "repo": item.repo,
        "revision": lock.revision if lock else item.revision,
        "download_gb": item.download_gb,
        "installed": item.repo is None or lock is not None,
        "folder": str(folder_of(item) / item.subfolder) if lock else None,
        "sampling": dict(item.sampling),
        "base": item.base,
        "note": item.note,
    }


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """Show every model that has a name."""
    rows = [_plain(item) for item in CATALOG.values()]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "download", "here", "what it is", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for row in rows:
        size = f"{row['download_gb']:g} GB" if row["repo"] else "-"
        table.add_row(row["name"], row["kind"], size, "yes" if row["installed"] else "no", row["title"])
    console = Console()
    console.print(table)
    console.print(
        f"\nDownloads go to {models_folder()}. A folder of your own works as well as a name.",
        soft_wrap=True,
        markup=False,
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name from `storymem models list`.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show what is known about a model: where it comes from, its settings, the memory it needs."""
    from storymem.models.catalog import sampling_for
    from storymem.models.needs import GIB, needs_of

    item = entry(name)
    row = _plain(item)
    needs = needs_of(item, sampling_for(item))
    if as_json:
        row["needs"] = [{"way": n.way, "option": n.option, "gpu": n.gpu, "ram": n.ram} for n in needs]
        typer.echo(json.dumps(row, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    console.print(f"[bold]{item.name}[/]: {item.title}", highlight=False)
    pinned = row["revision"] or "pinned at the first download"
    facts = {
        "from": f"huggingface.co/{item.repo}, revision {pinned}" if item.repo else "this package",
        "licence": item.licence,
        "here": row["folder"] or ("yes" if row["installed"] else f"no: storymem models download {item.name}"),
        "goes on": item.base,
        "settings": ", ".join(f"{key} {value}" for key, value in item.sampling.items()),
        "note": item.note,
    }
    for key, value in facts.items():
        if value:
            console.print(f"  {key}: {value}", markup=False, highlight=False)
    table = Table("way to run it (estimates)", "GPU", "RAM", "option", box=None, pad_edge=False)
    for need in needs:
        table.add_row(
            need.way, f"{need.gpu / GIB:.0f} GiB" if need.gpu else "-", f"{need.ram / GIB:.0f} GiB", need.option
        )
    console.print()
    console.print(table)


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="A name from `storymem models list`.", show_default=False)],
    revision: Annotated[
        str | None, typer.Option(help="Commit hash, branch or tag, instead of the pinned one.", show_default=False)
    ] = None,
) -> None:
    """Download a model, or go on with a download that was interrupted."""
    from storymem.models.download import download as fetch

    folder = fetch(entry(name), revision=revision, say=lambda line: typer.echo(line, err=True))
    typer.echo(folder)


@app.command()
def check(
    model: Annotated[
        str, typer.Argument(help="A name, the folder of a model or LoRA, or a file of weights.", show_default=False)
    ],
    on: Annotated[
        str | None, typer.Option("--on", help="For a LoRA: the model that it must fit.", show_default=False)
    ] = None,
    hashes: Annotated[bool, typer.Option("--hash", help="Compare SHA-256 too (reads everything).")] = False,
    as_json: Json = False,
) -> None:
    """See whether every file is there, whole, and fits, without loading the weights. Exit code 2 if not."""
    rows = _rows(model, on)
    item = CATALOG.get(model)
    lock = read_lock(item) if item is not None else None
    wrong: list[str] = []
    if item is not None and lock is not None:
        from storymem.models.download import differences

        wrong = differences(folder_of(item), lock, hashes=hashes)
    elif hashes:
        raise ModelError(f"{model}: was not downloaded by storymem, so its hashes are not known; leave out --hash.")
    bad = [row for row in rows if row.problem]
    if as_json:
        plain = [
            {"part": r.part, "path": str(r.path), "size": r.size, "problem": r.problem, "detail": r.detail}
            for r in rows
        ]
        typer.echo(json.dumps({"ok": not bad and not wrong, "parts": plain, "differences": wrong}, ensure_ascii=False))
    else:
        _print_rows(rows)
    if not bad and not wrong:
        return
    count = len(bad) + len(wrong)
    first = [*wrong, *(row.problem for row in bad)][0]
    remedy = f"; run `storymem models download {model}`" if wrong or (item is not None and item.repo) else ""
    raise ModelError(f"{model}: {count} problem{'s' if count > 1 else ''}; the first: {first}{remedy}")


def _rows(model: str, on: str | None) -> list[CheckRow]:
    from storymem.models import check as checks

    path = locate(model)
    item = CATALOG.get(model)
    if (item is not None and item.kind == "lora") or (item is None and checks.looks_like_lora(path)):
        return checks.check_lora(path, model=locate(on) if on else None)
    if on is not None:
        raise ModelError(f"{model}: is no LoRA; --on is for LoRAs.")
    if item is not None and item.kind in ("encoder", "scorer"):
        return checks.check_files(path)
    if path.is_file():
        return checks.check_part(path)
    return checks.check_model(path)


def _print_rows(rows: list[CheckRow]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, emoji=False)  # names of files are shown as they are
    table = Table("part", "", "size", "what", box=None, pad_edge=False)
    for row in rows:
        mark = Text("bad", style="bold red") if row.problem else Text("ok", style="green")
        size = f"{row.size / 1e9:.2f} GB" if row.size >= 1e7 else f"{row.size / 1e6:.2f} MB"
        table.add_row(row.part, mark, size, Text("see below" if row.problem else row.detail))
    console.print(table)
    for row in rows:
        if row.problem:
            console.print(Text(f"{row.part}: {row.problem}"), soft_wrap=True)
