"""A shot as layers: camera, backdrop, heroes and weather, from back to front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from storymem.worlds.storyland.layers import Layer, colours, move, place, snow_on, tints
from storymem.worlds.storyland.motion import Pose, pose_of
from storymem.worlds.storyland.places import PLACES, Light, light_for
from storymem.worlds.storyland.rig import head_height, hero_layers
from storymem.worlds.storyland.shots import MOVING, ShotSpec

__all__ = ["HERO_HEIGHT", "Scene", "build_scene"]

Array = NDArray[np.float64]
RGB = tuple[float, float, float]

HERO_HEIGHT = 0.6
"""A hero's height in picture heights, in a wide shot."""
FEET = 0.9
"""Where heroes stand, in picture heights from the top, in a wide shot."""
_ZOOM = {
    ("wide", 1): 1.0,
    ("wide", 2): 1.0,
    ("medium", 1): 1.36,
    ("medium", 2): 1.22,
    ("close-up", 1): 1.85,
    ("close-up", 2): 1.5,
}
_NEAR = {"wide": 1.0, "medium": 0.92, "close-up": 0.78}  # how far apart two heroes stand
_SNOW_COVER = {"far": 0.15, "mid": 0.2, "ground": 0.72}
_CLOUDS: dict[str, RGB] = {"evening": (0.84, 0.72, 0.77), "night": (0.34, 0.34, 0.425)}  # how clouds are lit
_STRIP = 2.5  # picture heights after which strips repeat


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """All that is to be drawn of one shot.

    Attributes:
        layers: from back to front.
        top, bottom: the sky's colours behind them, 0 to 1; it is `bottom` from 0.7 of the height on.
    """

    layers: tuple[Layer, ...]
    top: tuple[float, float, float]
    bottom: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Camera:
    """x, y, zoom: [F] or [1] each, in picture heights; the middle of the view is (x, y)."""

    x: Array
    y: Array
    zoom: Array
    height: int
    width: int

    def view(self, depth: float) -> Array:
        """[F, 3, 3] from picture heights (x from the middle, y from the top) to pixels, for things at `depth`."""
        zoom = 1 + (self.zoom - 1) * (0.22 + 0.78 * depth)
        cx, cy = self.x * depth, 0.5 + (self.y - 0.5) * depth
        return place(self.width / 2 - cx * zoom * self.height, (0.5 - cy * zoom) * self.height, zoom * self.height)


@lru_cache(maxsize=16)  # what is drawn is asked next where its heroes are
def build_scene(spec: ShotSpec, num_frames: int, height: int, width: int, fps: float) -> Scene:
    """Everything of `spec` as layers for frames of this size."""
    time = spec.start + np.arange(num_frames) / fps
    light = light_for(spec.place.kind, spec.time, spec.weather)
    moving = next((actor for actor in spec.actors if actor.action in MOVING), None)
    poses = [pose_of(actor.action, time, actor.phase) for actor in spec.actors]
    xs = [actor.x * _NEAR[spec.shot_type] for actor in spec.actors]
    if moving is not None and spec.camera != "follow":
        for actor, pose in zip(spec.actors, poses, strict=True):
            if actor is moving:  # comes to the picture's edge and stays in it
                pose.x = 1.3 * np.tanh(pose.x / 1.3)
    camera = _camera(spec, poses, xs, time, height, width)

    layers = _backdrop(spec, light, camera, time)
    stage = camera.view(1.0)
    for index, (actor, pose, x) in enumerate(zip(spec.actors, poses, xs, strict=True)):
        feet = stage @ place(x, FEET, HERO_HEIGHT * actor.facing, HERO_HEIGHT)
        layers += hero_layers(actor.hero, pose, np.broadcast_to(feet, (num_frames, 3, 3)), feet, light.hero, index)
    if not PLACES[spec.place.kind].indoors:
        layers += _weather(spec, light, time, height, width)
    return Scene(tuple(layers), light.top, light.bottom)


def _camera(spec: ShotSpec, poses: list[Pose], xs: list[float], time: Array, height: int, width: int) -> _Camera:
    zoom = np.array([_ZOOM[spec.shot_type, len(spec.actors)]])
    heads = [head_height(a.hero, seated=p.seated) * HERO_HEIGHT for a, p in zip(spec.actors, poses, strict=True)]
    head = FEET - sum(heads) / len(heads)
    y = np.array(
        [
            {"wide": 0.5, "medium": head + 0.06, "close-up": head - 0.004 if len(heads) == 1 else head + 0.03}[
                spec.shot_type
            ]
        ]
    )
    middle = sum(xs) / len(xs)
    x = np.array([0.0 if spec.shot_type == "wide" else middle])
    ease = 1 - np.exp(-time / 0.9)
    if spec.camera == "pan left":
        x = x + 0.13 / zoom - 0.26 * time / (0.6 + 0.4 * time) / zoom
    elif spec.camera == "pan right":
        x = x - 0.13 / zoom + 0.26 * time / (0.6 + 0.4 * time) / zoom
    elif spec.camera == "zoom in":
        y = y + (head + 0.04 - y) * 0.3 * ease
        zoom = zoom * (0.94 + 0.26 * ease)
        zoom = np.maximum(zoom, 1.0)
    elif spec.camera == "zoom out":
        zoom = zoom * (1.22 - 0.26 * ease)
        zoom = np.maximum(zoom, 1.0)
    elif spec.camera == "follow":
        x = xs[0] + poses[0].x * spec.actors[0].facing * HERO_HEIGHT
    return _Camera(x, y, zoom, height, width)


def _backdrop(spec: ShotSpec, light: Light, camera: _Camera, time: Array) -> list[Layer]:
    kind = PLACES[spec.place.kind]
    layout = Random(f"storyland/layout/{spec.place.layout}")
    shift, mirror = layout.uniform(0, _STRIP), layout.choice((-1, 1))
    chance = Random(f"storyland/sky/{spec.seed}")
    out: list[Layer] = []
    if not kind.timeless:
        out += _sky(spec, light, camera, time, chance)
    for name, depth in kind.layers:
        haze = light.near + (light.far - light.near) * (1 - depth) / 0.75
        snow = _SNOW_COVER[name] if spec.weather == "snowy" else 0.0
        colour = colours(light.scene, haze=light.haze, amount=max(0.0, haze))
        if snow:
            colour = snow_on(colour, light.scene, snow)
        matrix = camera.view(depth) @ place(shift * mirror, 0.0, mirror, 1.0)
        out.append(Layer(f"place/{spec.place.kind}/{name}", matrix[:, :2], colour))
        if name == "mid" and (spec.time == "night" or kind.indoors):
            strength = 0.55 if spec.time == "night" else 0.18
            for x, y, radius, colour_of_lamp in kind.lamps:
                glow = tints(np.diag(colour_of_lamp), (1, 1, 1), opacity=strength, adds=True)
                for repeat in (-1, 0, 1):
                    at = camera.view(depth) @ place(mirror * (shift + x) + repeat * _STRIP, y, radius * 2.5)
                    out.append(Layer("prop/glow", at[:, :2], glow))
    chosen = list(kind.things)
    layout.shuffle(chosen)
    sides = [-1, 1]
    layout.shuffle(sides)
    for (thing, size), side in zip(chosen[: layout.choice((1, 2, 2))], sides, strict=False):
        x, y = side * layout.uniform(0.52, 0.8), layout.uniform(0.70, 0.76)
        matrix = camera.view(0.97) @ place(x, y, size * layout.choice((-1, 1)), size)
        shadow = camera.view(0.97) @ place(x, y, 0.9 * size, 0.9 * size)
        out.append(Layer("prop/shadow", shadow[:, :2], tints(np.full((3, 3), 0.15), (1, 1, 1), opacity=0.22)))
        out.append(Layer(f"thing/{thing}", matrix[:, :2], colours(light.scene, haze=light.haze, amount=light.near)))
    return out


def _sky(spec: ShotSpec, light: Light, camera: _Camera, time: Array, chance: Random) -> list[Layer]:
    out: list[Layer] = []
    view = camera.view(0.06)
    grey = spec.weather not in ("clear", "windy")
    if spec.time == "night":
        out.append(
            Layer(
                "sky/stars",
                (view @ move(chance.uniform(0, _STRIP), 0.0))[:, :2],
                colours(opacity=0.25 if grey else 1.0),
            )
        )
    if not grey:
        x, y = {"morning": (-0.52, 0.3), "noon": (0.5, 0.15), "evening": (0.48, 0.46), "night": (0.52, 0.19)}[spec.time]
        tint = (1.0, 0.74, 0.5) if spec.time == "evening" else (1.0, 1.0, 1.0)
        body = "moon" if spec.time == "night" else "sun"
        out.append(Layer(f"sky/{body}", (view @ move(x + chance.uniform(-0.1, 0.1), y))[:, :2], colours(tint)))
    if PLACES[spec.place.kind].indoors:
        return out
    tone = _CLOUDS.get(spec.time, (1.0, 1.0, 1.0))
    if grey:
        dim = 0.8 if spec.weather in ("rainy", "cloudy") else 0.95
        drift = move(chance.uniform(0, _STRIP), 0.0)
        dull = (tone[0] * dim, tone[1] * dim, tone[2] * dim)
        out.append(Layer("sky/overcast", (camera.view(0.1) @ drift)[:, :2], colours(dull, opacity=0.9)))
        return out
    speed = 0.16 if spec.weather == "windy" else 0.02
    for n in range(chance.choice((1, 2, 2, 3))):
        x, y, size = chance.uniform(-0.85, 0.85), chance.uniform(0.07, 0.3), chance.uniform(0.55, 0.95)
        at = place(x + speed * time, y, size)
        out.append(Layer(f"sky/cloud{n % 2}", (camera.view(0.12) @ at)[:, :2], colours(tone, opacity=0.93)))
    return out


def _weather(spec: ShotSpec, light: Light, time: Array, height: int, width: int) -> list[Layer]:
    """In front of everything, in the picture's own frame."""
    chance = Random(f"storyland/weather/{spec.seed}")
    frame = place(width / 2, 0.0, float(height))
    x, y = chance.uniform(0, _STRIP), chance.uniform(0, 1)
    out: list[Layer] = []
    if spec.weather == "rainy":
        tone = (0.84, 0.90, 1.0)
        for size, speed, opacity in ((0.75, 1.7, 0.5), (1.15, 2.6, 0.8)):
            fall = place(x - 0.2 * speed * time, y + speed * time, size)
            out.append(Layer("sky/rain", (frame @ fall)[:, :2], colours(tone, opacity=opacity)))
    elif spec.weather == "snowy":
        for size, speed, opacity in ((0.7, 0.22, 0.75), (1.25, 0.4, 0.95)):
            fall = place(x + size + 0.03 * np.sin(2.2 * time + size * 5), y + speed * time, size)
            out.append(Layer("sky/snow", (frame @ fall)[:, :2], colours(opacity=opacity)))
    elif spec.weather == "windy":
        blow = place(x + 0.95 * time, y + 0.10 * np.sin(2.5 * time) + 0.12 * time, 1.0)
        out.append(Layer("sky/leaves", (frame @ blow)[:, :2], colours(light.hero, opacity=0.95)))
    elif spec.weather == "foggy":
        tone = (0.5 + 0.5 * light.haze[0], 0.5 + 0.5 * light.haze[1], 0.5 + 0.5 * light.haze[2])
        drift = place(x + 0.05 * time, 0.05, 1.2, 1.0)
        out.append(Layer("sky/fog", (frame @ drift)[:, :2], colours(tone, opacity=0.75)))
    return out
