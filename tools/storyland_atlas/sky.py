"""Sun, moon, stars, clouds and weather, and the props that stand about in places.

Most props come from Microsoft's Fluent Emoji (flat), MIT licence, out of the npm package
`@iconify-json/fluent-emoji-flat`; their colours are calmed so that heroes stand out.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import cairosvg
import numpy as np
from PIL import Image

from storyland_atlas.brush import Sheet, blob, hexa, oval, polygon

W = 640.0
WHITE = (255.0, 255.0, 255.0)
FLUENT = {  # sprite -> (icon, height in texels)
    "cactus": ("cactus", 112),
    "palm": ("palm-tree", 150),
    "parasol": ("umbrella-on-ground", 110),
    "boat": ("sailboat", 90),
    "snowman": ("snowman-without-snow", 92),
    "stump": ("wood", 56),
    "sunflower": ("sunflower", 70),
    "car": ("automobile", 104),
    "bicycle": ("bicycle", 84),
    "fountain": ("fountain", 92),
    "basket": ("basket", 56),
    "teapot": ("teapot", 48),
    "chair": ("chair", 84),
    "globe": ("globe-showing-europe-africa", 60),
    "plant": ("potted-plant", 76),
    "teddy": ("teddy-bear", 66),
    "shield": ("shield", 60),
    "gem": ("gem-stone", 44),
    "rock": ("rock", 60),
    "anchor": ("anchor", 76),
    "amphora": ("amphora", 70),
}


def _tiled(top: float, bottom: float) -> Sheet:
    return Sheet(0, top, W, bottom, tile=True)


def draw_sky() -> dict[str, Sheet]:
    """What belongs to the air; strips repeat sideways, `rain`, `snow` and `leaves` downwards as well."""
    out: dict[str, Sheet] = {}
    sun = Sheet(-90, -90, 90, 90)
    sun.radial(0, 0, 88, hexa("#fff1b8"), alpha=0.9)
    sun.fill(oval(0, 0, 30, 30), hexa("#fff3c4"), to=hexa("#ffdf7e"))
    out["sun"] = sun
    moon = Sheet(-70, -70, 70, 70)
    moon.radial(0, 0, 68, hexa("#dfe8ff"), alpha=0.5)
    moon.fill(oval(0, 0, 24, 24), hexa("#fffbe9"), to=hexa("#e9e4cf"))
    for x, y, r in ((-8, -6, 5), (8, 4, 6), (-3, 11, 3.4)):
        moon.flat(oval(x, y, r, r), hexa("#ddd5bb"), alpha=0.8)
    out["moon"] = moon
    stars = _tiled(0, 150)
    rng = np.random.default_rng(21)
    for _ in range(80):
        x, y, r = rng.uniform(0, W), rng.uniform(3, 147) ** 1.0, rng.uniform(0.7, 1.9)
        stars.flat(oval(x, y, r, r), WHITE, alpha=rng.uniform(0.5, 1))
    for _ in range(9):
        x, y, r = rng.uniform(10, W - 10), rng.uniform(10, 120), rng.uniform(4, 6)
        points = [
            (
                x + (r if i % 2 == 0 else r * 0.28) * math.sin(i * math.pi / 4),
                y + (r if i % 2 == 0 else r * 0.28) * math.cos(i * math.pi / 4),
            )
            for i in range(8)
        ]
        stars.flat(polygon(points), hexa("#fff6cf"))
    out["stars"] = stars
    for n, puffs in enumerate(
        (
            ((-40, 4, 26), (-10, -12, 34), (28, -4, 28), (56, 8, 18)),
            ((-52, 6, 20), (-20, -6, 28), (14, 0, 22), (44, 6, 16)),
        )
    ):
        cloud = Sheet(-90, -60, 90, 40)
        for x, y, r in puffs:
            cloud.flat(oval(x, y, r, r * 0.8), hexa("#e3ebf4"))
        cloud.flat(oval(4, 14, 72, 13), hexa("#e3ebf4"))
        for x, y, r in puffs:
            cloud.flat(oval(x - 2, y - 4, r * 0.92, r * 0.74), WHITE)
        out[f"cloud{n}"] = cloud
    overcast = _tiled(-20, 90)
    for _ in range(34):
        x, y, r = rng.uniform(0, W), rng.uniform(-20, 44), rng.uniform(24, 44)
        overcast.fill(oval(x, y, r * 1.3, r * 0.8), WHITE, low=0.9, alpha=0.85)
    out["overcast"] = overcast

    rain, snow, leaves = (Sheet(0, 0, W, 256, tile=True) for _ in range(3))
    # Everything keeps off the upper and lower edges: these strips repeat downwards too.
    for i in range(150):
        x, y, k = rng.uniform(0, W), rng.uniform(2, 226), rng.uniform(16, 27)
        rain.line(blob([(x, y), (x - k * 0.2, y + k)], closed=False), WHITE, 2.0 if i % 3 else 2.8, alpha=0.75)
    for i in range(150):
        r = rng.uniform(1.8, 5.2)
        snow.flat(oval(rng.uniform(0, W), rng.uniform(6, 250), r, r), WHITE, alpha=0.95 if i % 3 else 0.7)
    for i in range(34):
        x, y, k = rng.uniform(0, W), rng.uniform(14, 240), rng.uniform(5, 9)
        with leaves.moved(x, y, angle=rng.uniform(0, 360)):
            leaves.tile = False
            colour = hexa(["#e8894a", "#d9b23f", "#9dbb4f", "#d1604a"][i % 4])
            leaves.fill(blob([(-k, 0), (0, -k * 0.5), (k, 0), (0, k * 0.5)]), colour)
            leaves.line(blob([(-k, 0), (k, 0)], closed=False), hexa("#8c5a2e"), 1.1, alpha=0.6)
            leaves.tile = True
    for i in range(7):
        x, y = rng.uniform(0, W), rng.uniform(20, 236)
        leaves.line(
            blob([(x, y), (x + 40, y - 5), (x + 80, y + 4), (x + 116, y - 2)], closed=False), WHITE, 2.4, alpha=0.6
        )
        del i
    out["rain"], out["snow"], out["leaves"] = rain, snow, leaves
    fog = Sheet(0, 60, W, 250, tile=True)
    for _ in range(26):
        x, y, r = rng.uniform(0, W), rng.uniform(110, 200), rng.uniform(60, 110)
        with fog.moved(0, y, sy=0.35):
            fog.radial(x, 0, r, WHITE, alpha=0.4)
    out["fog"] = fog
    return out


def fluent_props(package: Path) -> dict[str, np.ndarray]:
    """The props as uint8 [H, W, 4], their anchor the middle of the lower edge."""
    icons = json.loads((package / "icons.json").read_text(encoding="utf-8"))["icons"]
    out = {}
    for name, (icon, height) in FLUENT.items():
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 32 32">{icons[icon]["body"]}</svg>'
        )
        picture = Image.open(io.BytesIO(cairosvg.svg2png(svg.encode(), output_width=height, output_height=height)))
        pixels = np.asarray(picture.convert("RGBA")).astype(np.float64)
        rgb, grey = pixels[..., :3], pixels[..., :3].mean(-1, keepdims=True)
        calm = (rgb * 0.72 + grey * 0.28) * 0.92 + np.array([255, 238, 214]) * 0.08
        out[name] = np.concatenate([calm, pixels[..., 3:]], -1).round().astype(np.uint8)
    return out
