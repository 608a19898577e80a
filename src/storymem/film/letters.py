"""The letters of the contact sheet: two weights of Inter for the scripts of Europe, and what stands for the others."""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib import resources
from io import BytesIO
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["MISSING", "drawable", "load_font"]

MISSING = "\N{WHITE SQUARE}"
"""Stands for any number of letters that the font lacks, such as those of a Japanese name."""

_INVISIBLE = ("Cf", "Mn", "Me", "Cs", "Co", "Cn")  # joiners, accents, surrogates and whatever has no form


def load_font(size: int, weight: Literal["Regular", "SemiBold"] = "Regular") -> FreeTypeFont:
    """The font of the sheet, which comes with this package.

    Args:
        size: in pixels.
        weight: how strong the letters are.
    """
    from PIL.ImageFont import Layout, truetype

    # Pillow's other layout needs a library that not every machine has, and the sheet is to look the same on all.
    return truetype(BytesIO(_file(weight)), size, layout_engine=Layout.BASIC)


def drawable(text: str) -> str:
    """The text on one line, in letters that the font has.

    A letter that it lacks loses what can be taken off it, such as a rare accent; what is left of letters that it knows
    nothing of is one `MISSING` for each run of them.
    """
    out = ""
    for letter in unicodedata.normalize("NFC", text):
        if letter.isspace() or unicodedata.category(letter) == "Cc":
            out += " "
        elif _is_there(letter):
            out += letter
        elif simple := "".join(part for part in unicodedata.normalize("NFKD", letter) if _is_there(part)):
            out += simple
        elif unicodedata.category(letter) not in _INVISIBLE and not out.endswith(MISSING):
            out += MISSING
    return " ".join(out.split())


@cache
def _file(weight: str) -> bytes:
    return (resources.files("storymem.film") / "fonts" / f"Inter-{weight}.otf").read_bytes()


@cache
def _none() -> tuple[tuple[int, int], bytes]:
    return _form("\uffff")  # no character at all


@cache
def _is_there(letter: str) -> bool:
    return unicodedata.category(letter) not in _INVISIBLE and _form(letter) != _none()


def _form(letter: str) -> tuple[tuple[int, int], bytes]:
    mask = _measure().getmask(letter)
    return mask.size, bytes(mask)


@cache
def _measure() -> FreeTypeFont:
    return load_font(24)
