"""Put the contact sheet of the film that `make film` makes into docs/images, at half its size and with fewer colours.

Run it by `make sheet`, which makes the film first.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
SHEET = ROOT / "films" / "milo" / "contact_sheet.png"
PICTURE = ROOT / "docs" / "images" / "milo.png"


def main() -> int:
    """Write the picture; its size in bytes."""
    with Image.open(SHEET) as sheet:
        small = sheet.convert("RGB").resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS)
    small.quantize(256, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    return PICTURE.stat().st_size


if __name__ == "__main__":
    print(f"{PICTURE}: {main() / 1e3:.0f} kB")
