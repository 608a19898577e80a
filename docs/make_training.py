"""Write the reference of training settings in docs/training.md from the settings themselves.

    python docs/make_training.py [--check]

With ``--check`` nothing is written; the exit code is 1 if the page is not what the settings say today.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from storymem.training.config import BaseStage, MemoryStage, VaeStage, section_in

TARGET = Path(__file__).with_name("training.md")
START, END = "<!-- settings: written by docs/make_training.py -->", "<!-- end of settings -->"


def default_of(value: Any) -> str:
    """A default as YAML would have it."""
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{json.dumps(value, default=list)}`"


def choices_of(annotation: Any) -> str:
    """The values of a Literal."""
    if typing.get_origin(annotation) is typing.Literal:
        return " One of " + ", ".join(f"`{choice}`" for choice in typing.get_args(annotation)) + "."
    return ""


def rows(model: type[BaseModel], prefix: str, skip: frozenset[str] = frozenset()) -> Iterator[str]:
    """Table rows of a section and, after them, of the sections inside."""
    inner = []
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        annotation: Any = field.annotation
        section = section_in(annotation)
        if section is not None:
            inner.append((f"{prefix}{name}.", section))
        if section is annotation:
            continue
        text = (field.description or "").replace("\n", " ") + choices_of(annotation)
        yield f"| `{prefix}{name}` | {default_of(field.get_default(call_default_factory=True))} | {text} |"
    for path, annotation in inner:
        yield f"| **`{path[:-1]}`** |  | {(annotation.__doc__ or '').splitlines()[0]} |"
        yield from rows(annotation, path)


def render() -> str:
    """The whole section."""
    head = "| setting | default | what it does |\n|---|---|---|\n"
    kinds: list[dict[str, Any]] = [
        {name: field.annotation for name, field in stage.model_fields.items()}
        for stage in (VaeStage, BaseStage, MemoryStage)
    ]
    # `loss` is in all of them, and something else in each.
    shared = frozenset(n for n in kinds[0] if n != "stage" and all(k.get(n) == kinds[0][n] for k in kinds))
    common = type("Common", (VaeStage,), {"__module__": __name__, "__annotations__": {}})
    parts = ["### Every stage\n", head + "\n".join(rows(common, "", frozenset(VaeStage.model_fields) - shared))]
    for name, stage in (("vae", VaeStage), ("base", BaseStage), ("memory", MemoryStage)):
        parts.append(f"\n### `stage: {name}`\n\n{(stage.__doc__ or '').splitlines()[0]}\n")
        parts.append(head + "\n".join(rows(stage, "", shared | {"stage"})))
    return f"{START}\n\n" + "\n".join(parts) + f"\n\n{END}"


def page(text: str) -> str:
    """The page with its reference as it should be."""
    before, _, rest = text.partition(START)
    return before + render() + rest.partition(END)[2]


if __name__ == "__main__":
    old = TARGET.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        sys.exit(0 if page(old) == old else 1)
    TARGET.write_text(page(old), encoding="utf-8")
