"""What is really in a clip: attributes, places in the picture, and what of the looks can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from storymem.worlds.storyland.compositor import layer_boxes
from storymem.worlds.storyland.heroes import ATTRIBUTES, HERO_CLASSES, class_of
from storymem.worlds.storyland.places import PLACES
from storymem.worlds.storyland.rendering import FPS
from storymem.worlds.storyland.scene import Scene, build_scene
from storymem.worlds.storyland.shots import ACTIONS, ShotSpec

__all__ = ["LABEL_CLASSES", "ground_truth", "hero_labels", "hero_masks", "labels_shown"]

Array = NDArray[np.float64]

LABEL_CLASSES: dict[str, tuple[str, ...]] = {**HERO_CLASSES, "action": ACTIONS}
"""What `hero_labels` says of each hero, and what it can be."""

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
    kind = PLACES[spec.place.kind]
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
    return {
        "place": spec.place.kind,
        "layout": spec.place.layout,
        "time": None if kind.timeless else spec.time,
        "weather": None if kind.indoors else spec.weather,
        "shot_type": spec.shot_type,
        "camera": spec.camera,
        "heroes": heroes,
    }


def hero_masks(spec: ShotSpec, num_frames: int, height: int, width: int, *, fps: float = FPS) -> NDArray[np.float32]:
    """Where each of N heroes and what they wear and hold are: [N, F, H, W], 1 inside the box around them, 0 elsewhere.

    Heroes are in the order of `ground_truth`. At edges of a box a pixel has the share that is covered.
    """
    scene = build_scene(spec, num_frames, height, width, fps)
    masks = np.zeros((len(spec.actors), num_frames, height, width), dtype=np.float32)
    for index in range(len(spec.actors)):
        whole = _union(list(_boxes(scene, index, num_frames).values()))
        x0, y0, x1, y1 = (edge[:, None] for edge in np.nan_to_num(whole).T)  # nothing is shown: no width, no height
        across, down = np.arange(width), np.arange(height)
        columns = np.clip(np.minimum(x1, across + 1) - np.maximum(x0, across), 0, 1)  # [F, W]
        rows = np.clip(np.minimum(y1, down + 1) - np.maximum(y0, down), 0, 1)  # [F, H]
        masks[index] = rows[:, :, None] * columns[:, None, :]
    return masks


def hero_labels(spec: ShotSpec) -> NDArray[np.int64]:
    """Looks and deeds of each of N heroes: [N, L], classes of `LABEL_CLASSES`, -1 for colours of what is not worn.

    Also what this shot does not show of them, as others may.
    """
    rows = [
        [*(class_of(name, value) for name, value in actor.hero.attributes().items()), ACTIONS.index(actor.action)]
        for actor in spec.actors
    ]
    return np.array(rows, dtype=np.int64)


def labels_shown(spec: ShotSpec, num_frames: int, height: int, width: int, *, fps: float = FPS) -> NDArray[np.bool_]:
    """Which of `hero_labels` a clip shows: [N, L]; what is seen of the looks in its middle frame, and what is done."""
    scene = build_scene(spec, num_frames, height, width, fps)
    rows = []
    for index, actor in enumerate(spec.actors):
        parts = _boxes(scene, index, num_frames)
        visible = _visible(actor.hero.attributes(), parts, num_frames // 2, height, width)
        rows.append([*(name in visible for name in HERO_CLASSES), True])
    return np.array(rows)


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
