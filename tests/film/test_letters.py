from __future__ import annotations

from importlib import resources

import pytest

from storymem.film.letters import MISSING, drawable, load_font

EUROPE = "äöüßéñçø–—€„“”‘’«»¿¡œæåłżőğşčřđþ Ελλάδα ώ Привет мир ґїў ẽệ ™ № → · …"  # noqa: RUF001


@pytest.mark.parametrize("weight", ["Regular", "SemiBold"])
def test_every_letter_of_europe_is_drawn_as_itself(weight: str) -> None:
    assert drawable(EUROPE) == EUROPE
    font = load_font(24, weight)
    none = bytes(font.getmask("\uffff"))
    assert all(letter == " " or bytes(font.getmask(letter)) != none for letter in EUROPE)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("Zoe\u0308", "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}"),  # composed, however it was typed
        ("\ufb01n x\u0323", "fin x"),
        ("猫と雨, and rain", f"{MISSING}, and rain"),
        ("\N{GRINNING FACE}\N{GRINNING FACE}!", f"{MISSING}!"),
        ("a\0b\tc\nd", "a b c d"),
        ("a\u200db\u00adc\ud800", "abc"),
        ("", ""),
    ],
)
def test_what_the_font_lacks_is_simplified_or_one_mark(text: str, drawn: str) -> None:
    assert drawable(text) == drawn


def test_the_fonts_are_small_and_their_licence_lies_beside_them() -> None:
    folder = resources.files("storymem.film") / "fonts"
    fonts = [item for item in folder.iterdir() if item.name.endswith(".otf")]
    assert sum(len(font.read_bytes()) for font in fonts) <= 200_000
    assert "SIL OPEN FONT LICENSE" in (folder / "OFL.txt").read_text(encoding="utf-8")
