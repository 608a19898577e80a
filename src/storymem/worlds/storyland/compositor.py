"""Draws layers with PyTorch alone, on whatever device: affine warps of the atlas, sampled bilinearly from mip levels.

A clip's pixels do not depend on what else is in the batch: every pixel is computed from its own coordinates only. On
the CPU clips are drawn one by one, each layer only where it is; on a GPU many at once, layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storymem.worlds.storyland.atlas import Sprite, load_page, load_sprites
from storymem.worlds.storyland.layers import Layer
from storymem.worlds.storyland.scene import Scene

if TYPE_CHECKING:
    import torch

__all__ = ["draw", "layer_boxes"]

_LEVELS = 6
_PAGE_WIDTH = 2048
_FAR = -1e4  # where a sprite is in frames that do not show it, in texels: outside
_SMALL = 2**14  # pixels of a clip for which calls cost a CPU more than pixels: all its layers are sampled at once
_GPU_PIXELS = 2**25  # drawn at once on a GPU; each takes about 60 bytes


@dataclass(frozen=True, slots=True)
class _Atlas:
    """All sprites at all mip levels on one page.

    Attributes:
        page: [1, 4, P, Q] float32, premultiplied alpha.
        where: (sprite, level) -> x, y, width, height of its rectangle, without the gutter of one texel around it.
        finest: the finest level that is there.
    """

    page: torch.Tensor
    where: dict[tuple[str, int], tuple[int, int, int, int]]
    finest: int


@lru_cache(maxsize=6)
def _atlas(device: str, finest: int) -> _Atlas:
    import torch

    pictures: list[tuple[str, int, NDArray[np.float32]]] = []
    pages = {name: load_page(name) for name in ("heroes", "scenery")}
    for name, sprite in load_sprites().items():
        raw = pages[sprite.page][sprite.y : sprite.y + sprite.height, sprite.x : sprite.x + sprite.width]
        pixels = raw.astype(np.float32) / 255.0
        pixels[..., :3] *= pixels[..., 3:]
        for level in range(_LEVELS):
            if level:
                pixels = _halved(pixels, sprite)
            if level >= finest:
                pictures.append((name, level, _with_gutter(pixels, sprite)))
    pictures.sort(key=lambda entry: -entry[2].shape[0])
    where: dict[tuple[str, int], tuple[int, int, int, int]] = {}
    x = y = shelf = 0
    for name, level, picture in pictures:
        h, w = picture.shape[:2]
        if x + w > _PAGE_WIDTH:
            x, y, shelf = 0, y + shelf, 0
        where[name, level] = (x + 1, y + 1, w - 2, h - 2)
        shelf = max(shelf, h)
        x += w
    page = np.zeros((4, y + shelf, _PAGE_WIDTH), np.float32)
    for name, level, picture in pictures:
        x0, y0, w, h = where[name, level]
        page[:, y0 - 1 : y0 + h + 1, x0 - 1 : x0 + w + 1] = picture.transpose(2, 0, 1)
    return _Atlas(torch.from_numpy(page)[None].to(device), where, finest)


def _halved(pixels: NDArray[np.float32], sprite: Sprite) -> NDArray[np.float32]:
    """Means of 2 x 2 texels; an odd border is filled up with what the sprite goes on with."""
    h, w = pixels.shape[:2]
    if h % 2:
        pixels = np.pad(pixels, ((0, 1), (0, 0), (0, 0)), mode="wrap" if sprite.repeats_y else "constant")
    if w % 2:
        pixels = np.pad(pixels, ((0, 0), (0, 1), (0, 0)), mode="wrap" if sprite.repeats_x else "constant")
    mean: NDArray[np.float32] = (pixels[::2, ::2] + pixels[1::2, ::2] + pixels[::2, 1::2] + pixels[1::2, 1::2]) * 0.25
    return mean


def _with_gutter(pixels: NDArray[np.float32], sprite: Sprite) -> NDArray[np.float32]:
    pixels = np.pad(pixels, ((0, 0), (1, 1), (0, 0)), mode="wrap" if sprite.repeats_x else "constant")
    return np.pad(pixels, ((1, 1), (0, 0), (0, 0)), mode="wrap" if sprite.repeats_y else "constant")


@dataclass(slots=True, eq=False)
class _Job:
    """One layer ready to be sampled.

    Attributes:
        inverse: [F, 2, 3] (or F = 1) from pixels to texels of the page, before wrapping.
        rect: x, y, width, height on the page.
        repeats: (sideways, downwards).
        box: x0, y0, x1, y1 of the pixels that it may touch in any frame.
        colour: [4, 4].
    """

    inverse: NDArray[np.float64]
    rect: tuple[int, int, int, int]
    repeats: tuple[bool, bool]
    box: tuple[int, int, int, int]
    colour: NDArray[np.float64]


def layer_boxes(layer: Layer) -> NDArray[np.float64]:
    """[F, 4] x0, y0, x1, y1 of the sprite's rectangle in pixels, not clipped; NaN in frames that do not show it."""
    sprite = load_sprites()[layer.sprite]
    x0, y0 = -sprite.anchor_x / sprite.unit, -sprite.anchor_y / sprite.unit
    x1, y1 = x0 + sprite.width / sprite.unit, y0 + sprite.height / sprite.unit
    corners = np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1, 1, 1, 1]])
    points = layer.matrix @ corners  # [F, 2, 4]
    boxes = np.concatenate([points.min(-1), points.max(-1)], -1)
    if layer.visible is not None:
        boxes = np.where(layer.visible[:, None], boxes, np.nan)
    return boxes


def _prepare(layer: Layer, atlas: _Atlas, height: int, width: int) -> _Job | None:
    """None if nothing of the layer is in the picture."""
    sprite = load_sprites()[layer.sprite]
    boxes = layer_boxes(layer)
    a, b, c, d = layer.matrix[:, 0, 0], layer.matrix[:, 0, 1], layer.matrix[:, 1, 0], layer.matrix[:, 1, 1]
    det = a * d - b * c
    # Texels that fall on one pixel: the coarser level is taken from 1.3 of them on.
    density = sprite.unit / np.sqrt(np.abs(det).max())
    level = int(np.clip(np.floor(np.log2(max(density, 1e-6) / 1.3) + 1), atlas.finest, _LEVELS - 1))
    # A texel fades out over the width of another: as many pixels beyond the sprite's edge may be touched.
    margin = 1 + 2.0**level / density
    x0, y0 = np.nanmin(boxes[:, :2], 0) - margin
    x1, y1 = np.nanmax(boxes[:, 2:], 0) + margin
    if sprite.repeats_x:
        x0, x1 = 0.0, float(width)
    if sprite.repeats_y:
        y0, y1 = 0.0, float(height)
    box = (
        max(0, int(np.floor(x0))),
        max(0, int(np.floor(y0))),
        min(width, int(np.ceil(x1))),
        min(height, int(np.ceil(y1))),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    inverse = np.empty(layer.matrix.shape)
    inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 0], inverse[:, 1, 1] = d / det, -b / det, -c / det, a / det
    inverse[:, :, 2] = -np.einsum("fij,fj->fi", inverse[:, :, :2], layer.matrix[:, :, 2])
    scale = 2.0**-level
    inverse *= sprite.unit * scale
    inverse[:, 0, 2] += sprite.anchor_x * scale
    inverse[:, 1, 2] += sprite.anchor_y * scale
    if layer.visible is not None and not layer.visible.all():
        inverse = np.where(layer.visible[:, None, None], inverse, 0.0)
        inverse[~layer.visible, :, 2] = _FAR
    return _Job(inverse, atlas.where[layer.sprite, level], (sprite.repeats_x, sprite.repeats_y), box, layer.colour)


def _sample(jobs: Sequence[_Job], box: tuple[int, int, int, int], atlas: _Atlas) -> torch.Tensor:
    """[B, 4, F, h, w]: the layers' premultiplied colours inside `box`."""
    import torch
    from torch.nn import functional

    device = atlas.page.device
    x0, y0, x1, y1 = box
    b, f, h, w = len(jobs), max(len(job.inverse) for job in jobs), y1 - y0, x1 - x0
    inverse = np.stack([np.broadcast_to(job.inverse, (f, 2, 3)) for job in jobs])
    m = torch.from_numpy(inverse.astype(np.float32)).to(device)[..., None, None]  # [B, F, 2, 3, 1, 1]
    xs = torch.arange(x0, x1, device=device, dtype=torch.float32) + 0.5
    ys = torch.arange(y0, y1, device=device, dtype=torch.float32)[:, None] + 0.5
    rects = torch.tensor([job.rect for job in jobs], dtype=torch.float32, device=device)[:, :, None, None, None]
    grid = torch.empty((b, f, h, w, 2), device=device)
    for axis, size in ((0, atlas.page.shape[-1]), (1, atlas.page.shape[-2])):
        along, across = (xs, ys) if axis == 0 else (ys, xs)
        u = m[:, :, axis, axis] * along + m[:, :, axis, 2]
        if inverse[:, :, axis, 1 - axis].any():  # turned; what is not has one coordinate per column and one per row
            u = u + m[:, :, axis, 1 - axis] * across
        start, extent = rects[:, axis], rects[:, axis + 2]
        wraps = [job.repeats[axis] for job in jobs]
        if all(wraps):
            u = u - extent * torch.floor(u / extent)
        elif any(wraps):
            where = torch.tensor(wraps, device=device)[:, None, None, None]
            u = torch.where(where, u - extent * torch.floor(u / extent), u)
        u = torch.minimum(u.clamp_(min=-0.5), extent + 0.5)
        grid[..., axis] = (u + start) * (2.0 / size) - 1.0
    sampled = functional.grid_sample(
        atlas.page, grid.reshape(1, b * f * h, w, 2), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    sampled = sampled.reshape(4, b, f * h * w).transpose(0, 1)  # [B, 4, N]
    colour = torch.from_numpy(np.stack([job.colour for job in jobs]).astype(np.float32)).to(device)
    return torch.bmm(colour, sampled).reshape(b, 4, f, h, w)


def draw(scenes: Sequence[Scene], num_frames: int, height: int, width: int, device: str) -> torch.Tensor:
    """The scenes as pictures: float32 [B, 3, F, H, W] in [0, 1]."""
    import torch

    finest = max(0, int(np.floor(np.log2(256 / height))) - 1)
    atlas = _atlas(device, finest)
    size = 1 if torch.device(device).type == "cpu" else max(1, _GPU_PIXELS // (num_frames * height * width))
    with torch.no_grad():
        parts = [
            _draw_together(scenes[i : i + size], atlas, num_frames, height, width) for i in range(0, len(scenes), size)
        ]
        return torch.cat(parts).clamp_(0, 1)


def _draw_together(scenes: Sequence[Scene], atlas: _Atlas, frames: int, height: int, width: int) -> torch.Tensor:
    import torch

    device = atlas.page.device
    ramp = np.clip((np.arange(height) + 0.5) / height / 0.7, 0, 1)[:, None]
    skies = [np.array(s.top) * (1 - ramp) + np.array(s.bottom) * ramp for s in scenes]  # [H, 3] each
    sky = torch.from_numpy(np.stack(skies).astype(np.float32)).to(device)
    # One frame stands for all until something moves: a still camera's backdrop is drawn once.
    canvas = sky.permute(0, 2, 1)[:, :, None, :, None].expand(-1, -1, 1, -1, width).contiguous()
    queues = [[j for layer in s.layers if (j := _prepare(layer, atlas, height, width)) is not None] for s in scenes]
    at_once = None
    if canvas.is_cpu and queues[0] and frames * height * width <= _SMALL:  # there, of one scene
        at_once = _sample(queues[0], (0, 0, width, height), atlas)
    for slot in range(max(map(len, queues))):
        members = [i for i, queue in enumerate(queues) if slot < len(queue)]
        jobs = [queues[i][slot] for i in members]
        if at_once is not None:
            x0, y0, x1, y1 = 0, 0, width, height
            sampled = at_once[[slot]]
        else:
            x0, y0 = min(job.box[0] for job in jobs), min(job.box[1] for job in jobs)
            x1, y1 = max(job.box[2] for job in jobs), max(job.box[3] for job in jobs)
            sampled = _sample(jobs, (x0, y0, x1, y1), atlas)
        if canvas.shape[2] < sampled.shape[2]:
            canvas = canvas.expand(-1, -1, frames, -1, -1).contiguous()
        if len(members) == len(scenes):
            view = canvas[..., y0:y1, x0:x1]
            view.mul_(1 - sampled[:, 3:]).add_(sampled[:, :3])
        else:
            index = torch.tensor(members, device=device)
            view = canvas[index, ..., y0:y1, x0:x1]
            canvas[index, ..., y0:y1, x0:x1] = view * (1 - sampled[:, 3:]) + sampled[:, :3]
    if canvas.shape[2] == 1:
        canvas = canvas.expand(-1, -1, frames, -1, -1).contiguous()
    return canvas
