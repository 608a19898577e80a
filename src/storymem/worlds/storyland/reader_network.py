"""The attribute reader as PyTorch modules: one network finds heroes and reads the scene, one reads each hero.

Imports PyTorch; `storymem.worlds.storyland.reader` is what others use.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from storymem.worlds.storyland.heroes import HERO_CLASSES, NOT_WORN
from storymem.worlds.storyland.shots import ACTIONS
from storymem.worlds.storyland.truth import SCENE_CLASSES

__all__ = [
    "ABOVE",
    "BELOW",
    "CLASSES",
    "FRAMES",
    "GRID",
    "HEIGHT",
    "HERO_CLASSES",
    "NOT_WORN",
    "SCENE_CLASSES",
    "SECOND",
    "WIDTH",
    "ReaderNetwork",
    "crops",
    "frame_indices",
    "steady",
    "to_reading_size",
]

HEIGHT, WIDTH = 64, 112
"""Pictures are read at this size, whatever size they come in."""
FRAMES = 5
"""Frames of a shot that are looked at: the first, the last, and between."""
SECOND = 17
"""Frames that a shot of training has, of which `FRAMES` are looked at: one second."""
GRID = 8
"""Pixels of a cell in which a head's middle is looked for."""

CLASSES: dict[str, tuple[str, ...]] = {**SCENE_CLASSES, **HERO_CLASSES, "action": ACTIONS}
"""Everything that is read, with what it can be."""

_CROP_HEIGHT, _CROP_WIDTH = 60, 48
_LEFT_RIGHT, ABOVE, BELOW = 1.4, 1.25, 2.25
"""What of the picture belongs to a hero, in head sizes (mean of width and height) from the middle of the head."""
_SCENE, _HERO = 96, 192


def frame_indices(count: int) -> list[int]:
    """Which of `count` frames are looked at: of a long shot the second in its middle, as in the reader's training."""
    span = min(count, SECOND) - 1
    first = (count - 1 - span) // 2
    return [first + round(i * span / (FRAMES - 1)) for i in range(FRAMES)]


def to_reading_size(frames: Tensor) -> Tensor:
    """[N, 3, h, w] to [N, 3, HEIGHT, WIDTH], antialiased."""
    if frames.shape[2:] == (HEIGHT, WIDTH):
        return frames
    return functional.interpolate(frames, (HEIGHT, WIDTH), mode="bilinear", antialias=True)


def crops(frames: Tensor, boxes: Tensor) -> Tensor:
    """Heroes cut out by their heads, so that every hero comes in the same size.

    Args:
        frames: [N, 3, HEIGHT, WIDTH].
        boxes: [N, 4], the head in each: middle x, middle y, width, height in pixels.

    Returns:
        [N, 4, 60, 48]: colours, and 1 where there is a picture.
    """
    size = boxes[:, 2:].mean(1)
    middle_x, middle_y = boxes[:, 0], boxes[:, 1] + size * (BELOW - ABOVE) / 2
    theta = frames.new_zeros(len(frames), 2, 3)
    theta[:, 0, 0] = size * _LEFT_RIGHT * 2 / WIDTH
    theta[:, 0, 2] = middle_x * 2 / WIDTH - 1
    theta[:, 1, 1] = size * (ABOVE + BELOW) / HEIGHT
    theta[:, 1, 2] = middle_y * 2 / HEIGHT - 1
    whole = torch.cat([frames, torch.ones_like(frames[:, :1])], 1)
    grid = functional.affine_grid(theta, [len(frames), 4, _CROP_HEIGHT, _CROP_WIDTH], align_corners=False)
    return functional.grid_sample(whole, grid, align_corners=False)


def steady(boxes: Tensor, there: Tensor) -> Tensor:
    """Heads of one size in all frames, the mean of what was found: sizes are found less exactly than places.

    Args:
        boxes: [N, FRAMES, 4]: middle x, middle y, width, height.
        there: [N, FRAMES], 1 where the head was found; at least once for each.
    """
    weight = there[..., None]
    size = (boxes[..., 2:] * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    return torch.cat([boxes[..., :2], size.expand(-1, boxes.shape[1], -1)], -1)


def _block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class ReaderNetwork(nn.Module):
    """What `Reader` runs and `train_reader` trains: two networks that share nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _block(3, 32, 5, 2), _block(32, 48, 3, 2), _block(48, 48), _block(48, _SCENE, 3, 2), _block(_SCENE, _SCENE)
        )
        self.finder = nn.Sequential(_block(_SCENE, 64), _finds())
        self.scene = nn.Sequential(nn.Linear(2 * _SCENE, 128), nn.ReLU(inplace=True))
        self.scene_heads = nn.ModuleDict({name: nn.Linear(128, len(c)) for name, c in SCENE_CLASSES.items()})
        self.hero = nn.Sequential(
            _block(4, 32, 3, 2),
            _block(32, 64, 3, 2),
            _block(64, 128, 3, 2),
            _block(128, 128),
            _block(128, 32, 1),
            nn.Flatten(),
        )
        # The light of the hour changes colours: a very coarse picture tells of it.
        self.light = nn.Sequential(nn.AdaptiveAvgPool2d((4, 7)), nn.Flatten(), nn.Linear(84, 64), nn.ReLU(inplace=True))
        self.joined = nn.Sequential(
            nn.Linear(32 * 8 * 6 + 64, _HERO), nn.ReLU(inplace=True), nn.Linear(_HERO, _HERO), nn.ReLU(inplace=True)
        )
        self.hero_heads = nn.ModuleDict({name: nn.Linear(_HERO, len(c)) for name, c in HERO_CLASSES.items()})
        self.step = nn.Sequential(nn.Linear(_HERO, 32), nn.ReLU(inplace=True))
        self.action = nn.Sequential(nn.Linear(FRAMES * 37, 160), nn.ReLU(inplace=True), nn.Linear(160, len(ACTIONS)))

    def look(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Find heads and take in the scene.

        Args:
            frames: [N, 3, HEIGHT, WIDTH].

        Returns:
            [N, 5, HEIGHT / GRID, WIDTH / GRID]: per cell how likely a head's middle is in it (logit), its place in the
            cell (0 to 1 each) and the logarithm of its width and height in cells; and [N, 192] features.
        """
        features = self.trunk(frames)
        return self.finder(features), torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)

    def read_scene(self, features: Tensor) -> dict[str, Tensor]:
        """From features of a shot's frames [N, frames, 192] to the logits of `SCENE_CLASSES`."""
        summary = self.scene(features.mean(1))
        return {name: head(summary) for name, head in self.scene_heads.items()}

    def see(self, frames: Tensor, boxes: Tensor) -> Tensor:
        """What can be seen of heroes in single frames.

        Args:
            frames: [N, 3, HEIGHT, WIDTH].
            boxes: [N, 4], the head in each: middle x, middle y, width, height in pixels.

        Returns:
            [N, 192] for `read_looks` and `read_action`.
        """
        seen: Tensor = self.joined(torch.cat([self.hero(crops(frames, boxes)), self.light(frames)], 1))
        return seen

    def read_looks(self, seen: Tensor, there: Tensor) -> dict[str, Tensor]:
        """The log-probabilities of `HERO_CLASSES`, [N, classes] each: the mean over the frames that show the hero.

        Args:
            seen: [N, frames, 192].
            there: [N, frames], 1 where the hero was found; at least once for each.
        """
        weight = (there / there.sum(1, keepdim=True))[..., None]
        logits = {name: head(seen).float() for name, head in self.hero_heads.items()}
        return {name: (one.log_softmax(-1) * weight).sum(1) for name, one in logits.items()}

    def read_action(self, seen: Tensor, boxes: Tensor, there: Tensor) -> Tensor:
        """The logits of the action, [N, 12].

        Args:
            seen: [N, FRAMES, 192].
            boxes: [N, FRAMES, 4], the heads.
            there: [N, FRAMES].
        """
        weight = there[..., None]
        size = boxes[..., 2:].mean(2, keepdim=True)
        usual = ((size * weight).sum(1) / weight.sum(1))[:, None]
        middle = ((boxes[..., :2] * weight).sum(1) / weight.sum(1))[:, None]
        moved = (boxes[..., :2] - middle) / usual  # in head sizes
        track = torch.cat([self.step(seen), moved, size / usual - 1, (usual / HEIGHT).expand(-1, FRAMES, -1)], 2)
        logits: Tensor = self.action(torch.cat([track * weight, weight], 2).flatten(1))
        return logits


def _finds() -> nn.Conv2d:
    last = nn.Conv2d(64, 5, 1)
    assert last.bias is not None
    nn.init.constant_(last.bias, 1.0)  # heads are two or three cells wide
    nn.init.constant_(last.bias[:1], -4.0)  # and one cell in a hundred has a head's middle
    return last
