"""`tidy`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from storymem.cli.options import AsJson, Folder

__all__ = ["tidy"]


def tidy(
    folder: Folder,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; without this it is only listed.")] = False,
    as_json: AsJson = False,
) -> None:
    """List, or remove, takes that are not in the film, damaged ones, and what shots left that are not in the script."""
    from storymem.cli.show import counted, showing
    from storymem.film.project import Film
    from storymem.film.tidy import leftovers
    from storymem.film.tidy import tidy as remove_leftovers

    with Film.work(folder) if remove else nullcontext(Film.open(folder)) as film, showing(as_json=as_json) as show:
        found = remove_leftovers(film) if remove else leftovers(film)
        for one in found:
            text = f"{one.size / 1e6:9.1f} MB  {one.path}  {one.what}"
            show.say("leftover", text, path=one.path, what=one.what, bytes=one.size)
        size = sum(one.size for one in found)
        if not found:
            show.say("tidied", "There is nothing that the film does not need.", folders=0, bytes=0, removed=remove)
        else:
            done = "removed" if remove else "can be removed: add --remove"
            text = f"{counted(len(found), 'folder')}, {size / 1e6:.1f} MB {done}."
            show.say("tidied", text, folders=len(found), bytes=size, removed=remove)
