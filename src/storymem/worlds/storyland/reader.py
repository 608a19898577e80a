"""Reads from the frames of a shot what they show: the instrument that generated shots of Storyland are measured with.

A small classifier, trained on clean drawings (`tools/train_storyland_reader.py`). How often it is right is stored with
its weights, attribute by attribute: no measurement can be better than its instrument.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from storymem.errors import MediaError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from storymem.worlds.storyland.reader_network import ReaderNetwork

__all__ = [
    "FloatArray",
    "HeroReading",
    "Reader",
    "ShotReading",
    "are_one",
    "boxes_of",
    "find_heads",
    "follow_heads",
    "heads_in",
    "load_reader",
    "see_hero",
]

FloatArray = npt.NDArray[np.float32]

SURE = 0.25  # a middle between two cells is half as likely in each
_APART = 0.5  # of the mean head width: nearer than this, two finds are one head


@dataclass(frozen=True, slots=True)
class HeroReading:
    """One hero, as seen.

    Attributes:
        attributes: by the names of `ATTRIBUTES`; None for what is not worn, and for its colour.
        action: one of `ACTIONS`.
        x: middle of the head, from 0 at the picture's left edge to 1 at the right.
        seen: share of the frames in which the hero was found.
    """

    attributes: Mapping[str, str | None]
    action: str
    x: float
    seen: float


@dataclass(frozen=True, slots=True)
class ShotReading:
    """One shot, as seen; `heroes` from left to right, two at most, perhaps none.

    What cannot be seen is read all the same: the weather of a kitchen, the time in a cave, the bag in a close-up.
    Whoever compares asks only for what can be seen (`ground_truth`).
    """

    place: str
    time: str
    weather: str
    shot_type: str
    heroes: tuple[HeroReading, ...]


class Reader:
    """Reads shots. Make one with `load_reader`.

    Attributes:
        accuracy: what was read right of unseen clean drawings, 0 to 1, by attribute, as measured after training.
        about: how it was trained and measured.
    """

    def __init__(self, network: ReaderNetwork, accuracy: Mapping[str, float], about: Mapping[str, Any]) -> None:
        self.network = network.eval()
        self.accuracy = dict(accuracy)
        self.about = dict(about)

    def read(self, frames: FloatArray) -> ShotReading:
        """Read one shot.

        Args:
            frames: [F, 3, H, W] float32 in [-1, 1], any size; best about a second long, as in training.

        Raises:
            MediaError: the array is no shot.
        """
        import torch

        from storymem.worlds.storyland.reader_network import SCENE_CLASSES

        if frames.ndim != 4 or frames.shape[1] != 3 or not len(frames):
            raise MediaError(f"A shot is an array [frames, 3, height, width] of one frame or more, not {frames.shape}.")
        with torch.inference_mode():
            pictures, heads, features = heads_in(self.network, frames)
            scene = self.network.read_scene(features[None])
            said = {name: SCENE_CLASSES[name][int(logits.argmax())] for name, logits in scene.items()}
            tracks = follow_heads(heads)
            heroes = tuple(self._hero(pictures, track) for track in tracks)
        return ShotReading(said["place"], said["time"], said["weather"], said["shot_type"], heroes)

    def _hero(self, pictures: Any, track: list[FloatArray | None]) -> HeroReading:
        from storymem.worlds.storyland.reader_network import CLASSES, NOT_WORN, WIDTH

        found = [box for box in track if box is not None]
        logits = see_hero(self.network, pictures, track)
        said: dict[str, str | None] = {name: CLASSES[name][int(one.sum(0).argmax())] for name, one in logits.items()}
        action = said.pop("action")
        assert action is not None
        for thing in ("hat", "neckwear", "accessory"):
            if said[thing] == NOT_WORN:
                said[thing] = said[f"{thing}_colour"] = None
        x = float(np.mean([box[0] for box in found])) / WIDTH
        return HeroReading(said, action, x, len(found) / len(track))


def heads_in(network: ReaderNetwork, frames: FloatArray) -> tuple[Tensor, list[list[FloatArray]], Tensor]:
    """Where heads are in a shot; call it where no gradients are asked for.

    Args:
        network: the reader's.
        frames: [F, 3, H, W] float32 in [-1, 1], any size; a single one is a picture.

    Returns:
        The n frames that are looked at, in the size of reading, [n, 3, h, w]; the heads in each, as `find_heads` gives
        them; and each one's features, which the scene is read from.
    """
    import torch

    from storymem.worlds.storyland.reader_network import frame_indices, to_reading_size

    chosen = np.ascontiguousarray(frames[frame_indices(len(frames))], dtype=np.float32)
    pictures = to_reading_size(torch.from_numpy(chosen))
    maps, features = network.look(pictures)
    return pictures, [find_heads(one) for one in maps.numpy()], features


def see_hero(network: ReaderNetwork, pictures: Tensor, track: Sequence[FloatArray | None]) -> dict[str, Tensor]:
    """What a network says of one hero of a shot.

    Args:
        network: the reader's.
        pictures: [F, 3, h, w], the frames that are looked at, in the size of reading.
        track: the hero's head in each, as `follow_heads` gives it.

    Returns:
        Log-probabilities of looks and ``action``, [2, classes] each: of the hero as it is, and in a mirror, where
        nothing but its side has changed.
    """
    import torch

    from storymem.worlds.storyland.reader_network import WIDTH, steady

    there = torch.tensor([[float(box is not None) for box in track]])
    boxes = steady(torch.from_numpy(boxes_of(track))[None], there)
    mirrored = torch.cat([WIDTH - boxes[..., :1], boxes[..., 1:]], -1)
    both, there = torch.cat([boxes, mirrored]), there.expand(2, -1)
    seen = network.see(torch.cat([pictures, pictures.flip(-1)]), both.flatten(0, 1)).reshape(2, len(track), -1)
    looks = network.read_looks(seen, there)
    return {**looks, "action": network.read_action(seen, both, there).log_softmax(-1)}


def find_heads(found: FloatArray, sure: float = SURE) -> list[FloatArray]:
    """The heads in one frame, at most two, from left to right: [middle x, middle y, width, height] in pixels.

    Args:
        found: [5, h, w], what the network says of each cell of the frame.
        sure: how likely a head must be.
    """
    from storymem.worlds.storyland.reader_network import GRID

    score = 1 / (1 + np.exp(-found[0]))
    heads: list[FloatArray] = []
    for cell in np.argsort(-score, axis=None, kind="stable"):
        row, column = divmod(int(cell), score.shape[1])
        if score[row, column] < sure or len(heads) == 2:
            break
        x, y, width, height = found[1:, row, column]
        size = np.exp(np.clip([width, height], -1, 3))
        box = (np.array([column + x, row + y, *size]) * GRID).astype(np.float32)
        if not any(are_one(box, head) for head in heads):
            heads.append(box)
    return sorted(heads, key=lambda box: float(box[0]))


def are_one(boxes: FloatArray, head: FloatArray) -> npt.NDArray[np.bool_]:
    """Which of some boxes ``[..., 4]`` are so near a head ``[4]`` that they are the same one."""
    away = np.hypot(boxes[..., 0] - head[0], boxes[..., 1] - head[1])
    return np.asarray(away <= _APART * (boxes[..., 2] + head[2]) / 2)


def follow_heads(frames: list[list[FloatArray]]) -> list[list[FloatArray | None]]:
    """From the heads in each frame to one list per hero: as many heroes as most frames show, from left to right."""
    counts = [len(heads) for heads in frames]
    count = max((2, 1, 0), key=lambda n: (counts.count(n), n))
    if count == 0:
        return []
    if count == 1:
        # Where a second was found for a moment, the one nearest to where the hero was alone is meant.
        alone = float(np.mean([heads[0][0] for heads in frames if len(heads) == 1]))
        return [[min(heads, key=lambda box: abs(float(box[0]) - alone)) if heads else None for heads in frames]]
    return [[heads[side] if len(heads) == 2 else None for heads in frames] for side in (0, 1)]


def boxes_of(track: Sequence[FloatArray | None]) -> FloatArray:
    """The boxes of one hero, frame by frame: [F, 4]; where there is none, the first that there is."""
    first = next(box for box in track if box is not None)
    return np.stack([first if box is None else box for box in track])


def load_reader(path: Path | None = None, *, shipped: str = "reader.safetensors") -> Reader:
    """A reader that comes with the package, or one of your own.

    Args:
        path: a file that `tools/train_storyland_reader.py` wrote; None is the package's.
        shipped: which of the package's: the one that films are measured with, or ``judge.safetensors``, which training
            learns from.

    Raises:
        ModelError: the file is missing or holds no reader.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    from storymem.worlds.storyland.reader_network import ReaderNetwork

    with resources.as_file(resources.files(__package__) / shipped) as own:
        file = path or own
        try:
            with safe_open(file, framework="pt") as opened:
                notes = opened.metadata() or {}
                weights = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{file}: no reader can be read from this file ({error}): train one with "
                "`python tools/train_storyland_reader.py`."
            ) from error
    network = ReaderNetwork()
    missing = set(network.state_dict()) - set(weights) - {n for n in network.state_dict() if n.endswith("_tracked")}
    if missing or "accuracy" not in notes:
        raise ModelError(f"{file}: this is no reader of Storyland: train one with tools/train_storyland_reader.py.")
    try:
        network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{file}: this reader has another form: train it anew.") from error
    with torch.no_grad():
        return Reader(network, json.loads(notes["accuracy"]), json.loads(notes.get("about", "{}")))
