"""What is really in a clip: attributes, places in the picture, and what of the looks can be seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storymem.worlds.storyland.compositor import layer_boxes
from storymem.worlds.storyland.heroes import ATTRIBUTES, HERO_CLASSES, class_of
from storymem.worlds.storyland.places import PLACES, TIMES, WEATHERS
from storymem.worlds.storyland.rendering import FPS
from storymem.worlds.storyland.scene import Scene, build_scene
from storymem.worlds.storyland.shots import ACTIONS, SHOT_TYPES, ShotSpec

__all__ = ["LABEL_CLASSES", "SCENE_CLASSES", "HeroSubjects", "ground_truth", "hero_subjects", "scene_labels"]

Array = NDArray[np.float64]

SCENE_CLASSES: dict[str, tuple[str, ...]] = {
    "place": tuple(PLACES),
    "time": TIMES,
    "weather": WEATHERS,
    "shot_type": SHOT_TYPES,
}
"""What `scene_labels` says, and what it can be."""
LABEL_CLASSES: dict[str, tuple[str, ...]] = {**HERO_CLASSES, "action": ACTIONS}
"""What `HeroSubjects.labels` says of each hero, and what it can be."""

# What of a hero must be in the picture for an attribute to be seen.
_SHOWN_BY = {
    "species": "head",
    "build": "body",
    "colour": "head",
    "pattern": "head",
    "hat": "hat",
    "neckwear": "neckwear",
    "accessory": "accessory",
}
_BODY = ("head", "face", "body", "arm", "leg", "tail", "hat", "neckwear")
# The share of a part's box that must lie in the picture; a bag is not seen by its strap, nor a balloon by its string.
_SEEN = 0.5
_SEEN_ACCESSORY = 0.7


def ground_truth(
    spec: ShotSpec, num_frames: int = 17, height: int = 64, width: int = 112, *, fps: float = FPS
) -> dict[str, Any]:
    """Everything that a clip of `spec` shows, as plain values that JSON can hold.

    Keys: ``place``, ``layout``, ``time`` (None in the cave, where there is none), ``weather`` (None indoors),
    ``shot_type``, ``camera``, and ``heroes``, from left to right, each with

    - ``name``, ``attributes`` (by `ATTRIBUTES`), ``action``, ``side`` ("left", "right", or "middle" when alone),
      ``facing`` ("left" or "right");
    - ``boxes`` and ``head_boxes``: per frame [x0, y0, x1, y1] in pixels, cut at the picture's edge, or None outside;
    - ``visible``: the attributes that can be seen in the middle frame. That something is not worn can be seen where
      it would be.
    """
    scene = build_scene(spec, num_frames, height, width, fps)
    heroes = []
    for index, actor in enumerate(spec.actors):
        parts = _boxes(scene, index, num_frames)
        whole = _union([boxes for what, boxes in parts.items() if what in _BODY])
        side = "middle" if len(spec.actors) == 1 else ("left", "right")[index]
        heroes.append(
            {
                "name": actor.name,
                "attributes": actor.hero.attributes(),
                "action": actor.action,
                "side": side,
                "facing": "right" if actor.facing > 0 else "left",
                "boxes": _clipped(whole, height, width),
                "head_boxes": _clipped(parts["head"], height, width),
                "visible": _visible(actor.hero.attributes(), parts, num_frames // 2, height, width),
            }
        )
    return {**_setting(spec), "layout": spec.place.layout, "camera": spec.camera, "heroes": heroes}


def _setting(spec: ShotSpec) -> dict[str, str | None]:
    kind = PLACES[spec.place.kind]
    return {
        "place": spec.place.kind,
        "time": None if kind.timeless else spec.time,
        "weather": None if kind.indoors else spec.weather,
        "shot_type": spec.shot_type,
    }


def scene_labels(spec: ShotSpec) -> tuple[int, ...]:
    """Where and when a clip is: classes of `SCENE_CLASSES`, -1 for what its place does not have."""
    said = _setting(spec)
    return tuple(-1 if (value := said[name]) is None else SCENE_CLASSES[name].index(value) for name in SCENE_CLASSES)


class HeroSubjects(NamedTuple):
    """Each of N heroes of a clip, in the order of `ground_truth`.

    Attributes:
        masks: [N, F, H, W], 1 inside the box around them and what they wear and hold, 0 elsewhere; at edges of a box a
            pixel has the share that is covered.
        labels: [N, L], classes of `LABEL_CLASSES`, -1 for colours of what is not worn; also what this clip does not
            show, as others may.
        shown: [N, L], which of them it shows: what is seen of the looks in its middle frame, and what is done.
    """

    masks: NDArray[np.float32]
    labels: NDArray[np.int64]
    shown: NDArray[np.bool_]


def hero_subjects(spec: ShotSpec, num_frames: int, height: int, width: int, *, fps: float = FPS) -> HeroSubjects:
    """Where the heroes of a clip are, what they are, and what of it is seen."""
    scene = build_scene(spec, num_frames, height, width, fps)
    across, down = np.arange(width), np.arange(height)
    masks = np.zeros((len(spec.actors), num_frames, height, width), dtype=np.float32)
    labels, shown = [], []
    for index, actor in enumerate(spec.actors):
        parts, attributes = _boxes(scene, index, num_frames), actor.hero.attributes()
        x0, y0, x1, y1 = (edge[:, None] for edge in np.nan_to_num(_union(list(parts.values()))).T)  # not shown: 0 wide
        columns = np.clip(np.minimum(x1, across + 1) - np.maximum(x0, across), 0, 1)  # [F, W]
        rows = np.clip(np.minimum(y1, down + 1) - np.maximum(y0, down), 0, 1)  # [F, H]
        masks[index] = rows[:, :, None] * columns[:, None, :]
        labels.append([*(class_of(name, value) for name, value in attributes.items()), ACTIONS.index(actor.action)])
        visible = _visible(attributes, parts, num_frames // 2, height, width)
        shown.append([*(name in visible for name in HERO_CLASSES), True])
    return HeroSubjects(masks, np.array(labels, dtype=np.int64), np.array(shown))


def _boxes(scene: Scene, actor: int, num_frames: int) -> dict[str, Array]:
    """For each part of one actor [F, 4]: x0, y0, x1, y1, NaN where it is not shown."""
    found: dict[str, list[Array]] = {}
    for layer in scene.layers:
        if layer.part is not None and layer.part[0] == actor:
            found.setdefault(layer.part[1], []).append(np.broadcast_to(layer_boxes(layer), (num_frames, 4)))
    return {what: _union(boxes) for what, boxes in found.items()}


def _union(boxes: list[Array]) -> Array:
    stacked = np.stack(boxes)
    low = np.where(np.isnan(stacked), np.inf, stacked).min(0)
    high = np.where(np.isnan(stacked), -np.inf, stacked).max(0)
    out = np.concatenate([low[:, :2], high[:, 2:]], -1)
    return np.where(np.isinf(out), np.nan, out)


def _clipped(boxes: Array, height: int, width: int) -> list[list[float] | None]:
    out: list[list[float] | None] = []
    for x0, y0, x1, y1 in boxes:
        box = [max(0.0, float(x0)), max(0.0, float(y0)), min(float(width), float(x1)), min(float(height), float(y1))]
        out.append([round(v, 2) for v in box] if box[0] < box[2] and box[1] < box[3] else None)
    return out


def _visible(
    attributes: dict[str, str | None], parts: dict[str, Array], frame: int, height: int, width: int
) -> list[str]:
    def seen(part: str) -> bool:
        x0, y0, x1, y1 = parts[part][frame]
        inside = max(0.0, min(width, x1) - max(0.0, x0)) * max(0.0, min(height, y1) - max(0.0, y0))
        return bool(inside >= (_SEEN_ACCESSORY if part == "accessory" else _SEEN) * (x1 - x0) * (y1 - y0))

    shown = []
    for name in ATTRIBUTES:
        thing = name.removesuffix("_colour")
        if attributes[thing] is None:  # it would be seen where it belongs
            if seen("head") if thing in ("hat", "neckwear") else seen("body"):
                shown.append(name)
        elif seen(_SHOWN_BY[thing]):
            shown.append(name)
    return shown
