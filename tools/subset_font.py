"""Make the fonts of the contact sheet from those of Inter: the letters of Europe and what is written around them.

    apt-get download fonts-inter && dpkg -x fonts-inter_*.deb inter     # or a release of https://github.com/rsms/inter
    python -m pip install fonttools                                      # in an environment of its own
    python tools/subset_font.py inter/usr/share/fonts/opentype/inter

Inter is under the SIL Open Font License (src/storymem/film/fonts/OFL.txt), which allows this and reserves no name.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools import subset

FONTS = Path(__file__).parents[1] / "src" / "storymem" / "film" / "fonts"
WEIGHTS = ("Regular", "SemiBold")
# First and last character of each block: Latin with all its extensions, Greek, Cyrillic, punctuation, currencies,
# letter-like signs, arrows, mathematics, geometric shapes.
BLOCKS = (
    (0x20, 0x24F), (0x2B0, 0x2FF), (0x370, 0x3FF), (0x400, 0x52F), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x20A0, 0x20CF),
    (0x2100, 0x214F), (0x2190, 0x21FF), (0x2200, 0x22FF), (0x25A0, 0x25FF),
)  # fmt: skip
LIMIT = 200e3
"""Bytes that the fonts may have together."""


def main(source: Path) -> int:
    """Write the fonts; their size in bytes."""
    size = 0
    for weight in WEIGHTS:
        options = subset.Options()
        options.layout_features = []  # kerning is half of the file, and not every Pillow can use it
        options.notdef_outline = True
        options.name_IDs = ["*"]
        font = subset.load_font(source / f"Inter-{weight}.otf", options)
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=[code for first, last in BLOCKS for code in range(first, last + 1)])
        subsetter.subset(font)
        target = FONTS / f"Inter-{weight}.otf"
        subset.save_font(font, target, options)
        size += target.stat().st_size
    if size > LIMIT:
        raise SystemExit(f"The fonts have {size / 1e3:.0f} kB; {LIMIT / 1e3:.0f} are allowed.")
    return size


if __name__ == "__main__":
    print(f"{FONTS}: {main(Path(sys.argv[1])) / 1e3:.0f} kB")
