"""Draw Storyland's sprite atlas and write it into the package.

    pip install skia-python==144.1 cairosvg==2.9.1 numpy pillow
    npm pack @iconify-json/fluent-emoji-flat@1.2.6 && tar xzf iconify-json-fluent-emoji-flat-1.2.6.tgz
    python tools/build_atlas.py package

Only who changes a drawing needs this: the atlas is part of the package.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from storyland_atlas import bodies, clothes, heads, signs, sky
from storyland_atlas.brush import Sheet
from storyland_atlas.places import PLACES

OUT = Path(__file__).parents[1] / "src/storymem/worlds/storyland/atlas"
PAGE_WIDTH = 2048
FALLING = ("sky/rain", "sky/snow", "sky/leaves")
HERO_UNIT, SCENE_UNIT = 320.0, 256.0  # texels per unit: a hero's height, a picture's height


@dataclass
class Sprite:
    """Pixels with what the compositor must know of them."""

    name: str
    pixels: np.ndarray
    anchor: tuple[float, float]
    unit: float
    repeats: str = ""  # "x": sideways without a seam; "xy": downwards as well

    def trimmed(self) -> Sprite:
        """Without its empty borders."""
        ys, xs = np.nonzero(self.pixels[..., 3] > 2)
        y0, y1 = (0, self.pixels.shape[0]) if "y" in self.repeats else (int(ys.min()), int(ys.max()) + 1)
        x0, x1 = (0, self.pixels.shape[1]) if "x" in self.repeats else (int(xs.min()), int(xs.max()) + 1)
        anchor = (self.anchor[0] - x0, self.anchor[1] - y0)
        return Sprite(self.name, self.pixels[y0:y1, x0:x1], anchor, self.unit, self.repeats)


def _sprite(name: str, sheet: Sheet, unit: float) -> Sprite:
    repeats = "" if not sheet.tile else "xy" if name in FALLING else "x"
    return Sprite(name, sheet.pixels(), sheet.anchor(), unit, repeats)


def hero_sprites() -> list[Sprite]:
    """All parts of heroes, and what they wear, carry and do."""
    sheets: dict[str, Sheet] = {}
    for species in heads.HEADS:
        sheets |= {f"head/{species}/{pattern}": heads.draw_head(species, pattern) for pattern in heads.PATTERNS}
        sheets |= {f"face/{species}/{kind}": heads.draw_face(species, kind) for kind in ("open", "closed", "song")}
        if (tail := bodies.draw_tail(species)) is not None:
            sheets[f"tail/{species}"] = tail
    for build in bodies.BODIES:
        sheets |= {f"body/{build}/{pattern}": bodies.draw_body(build, pattern) for pattern in heads.PATTERNS}
    sheets |= {"arm": bodies.draw_arm(), "leg": bodies.draw_leg(), "collar": clothes.draw_cape_collar()}
    for kind in ("cap", "top hat", "woolly hat", "sun hat", "crown", "wizard hat", "bow"):
        sheets[f"hat/{kind}"] = clothes.draw_hat(kind)
    sheets |= {f"neck/{kind}": clothes.draw_neckwear(kind) for kind in ("scarf", "bow tie", "cape")}
    for kind in ("glasses", "bag", "umbrella", "lantern", "balloon"):
        sheets[f"accessory/{kind}"] = clothes.draw_accessory(kind)
    sheets |= {f"prop/{kind}": clothes.draw_prop(kind) for kind in ("book", "apple", "glow", "shadow")}
    sheets |= {f"sign/{kind}": draw() for kind, draw in signs.SIGNS.items()}
    return [_sprite(name, sheet, HERO_UNIT) for name, sheet in sheets.items()]


def scene_sprites(fluent: Path) -> list[Sprite]:
    """All strips of places, the sky and the props that stand about."""
    out = [_sprite(f"sky/{name}", sheet, SCENE_UNIT) for name, sheet in sky.draw_sky().items()]
    for place, draw in PLACES.items():
        out += [_sprite(f"place/{place}/{layer}", sheet, SCENE_UNIT) for layer, sheet in draw().items()]
    for name, pixels in sky.fluent_props(fluent).items():
        out.append(Sprite(f"thing/{name}", pixels, (pixels.shape[1] / 2, pixels.shape[0] * 0.97), SCENE_UNIT))
    return out


def pack(sprites: list[Sprite]) -> tuple[np.ndarray, dict[str, dict[str, object]]]:
    """Shelves of falling height on one page; uint8 [H, W, 4] and the index."""
    index: dict[str, dict[str, object]] = {}
    placed: list[tuple[Sprite, int, int]] = []
    x = y = shelf = 0
    for sprite in sorted(sprites, key=lambda s: (-s.pixels.shape[0], s.name)):
        h, w = sprite.pixels.shape[:2]
        if x + w > PAGE_WIDTH:
            x, y, shelf = 0, y + shelf, 0
        shelf = max(shelf, h)
        placed.append((sprite, x, y))
        x += w
    page = np.zeros((y + shelf, PAGE_WIDTH, 4), np.uint8)
    for sprite, x0, y0 in placed:
        h, w = sprite.pixels.shape[:2]
        page[y0 : y0 + h, x0 : x0 + w] = sprite.pixels
        index[sprite.name] = {
            "rect": [x0, y0, w, h],
            "anchor": [round(float(a), 3) for a in sprite.anchor],
            "unit": sprite.unit,
            "repeats": sprite.repeats,
        }
    page[page[..., 3] == 0] = 0
    return page, dict(sorted(index.items()))


def main() -> None:
    """Write heroes.png, scenery.png and atlas.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fluent", type=Path, help="the unpacked npm package @iconify-json/fluent-emoji-flat")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    index: dict[str, object] = {}
    for page_name, sprites in (("heroes", hero_sprites()), ("scenery", scene_sprites(options.fluent))):
        page, entries = pack([sprite.trimmed() for sprite in sprites])
        path = options.out / f"{page_name}.png"
        Image.fromarray(page, "RGBA").save(path, optimize=True)
        index |= {name: {"page": page_name, **entry} for name, entry in entries.items()}
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {page.shape[1]} x {page.shape[0]}, {len(entries)} sprites, {size:.2f} MB")
    (options.out / "atlas.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
