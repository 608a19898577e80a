"""Trains the attribute reader on clean drawings, and measures it on drawings of heroes and layouts it never saw."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from storymem.errors import StorageError
from storymem.worlds.storyland.reader import SURE, Reader
from storymem.worlds.storyland.reader_drawings import TWO_HEROES, Batch, Example, Pool, damaged, target_of
from storymem.worlds.storyland.reader_network import (
    CLASSES,
    FRAMES,
    GRID,
    HEIGHT,
    HERO_CLASSES,
    SCENE_CLASSES,
    SECOND,
    WIDTH,
    ReaderNetwork,
    steady,
)
from storymem.worlds.storyland.rendering import render
from storymem.worlds.storyland.shots import MOVING, sample_shot
from storymem.worlds.storyland.truth import ground_truth

__all__ = ["measure_reader", "refine_reader", "save_reader", "train_reader"]

_USES = 4  # of a drawing: hats of heroes who come again and again are learned by heart
_PARTS = 6  # of a batch, of which one is for the scene and the actions
_RATE = 3e-3
_LOOKED_AT = 2  # frames per clip in which heads are looked for while training
_RARE = 3.0  # how much a walk or a run counts: only a hero who is alone in a picture that is wide enough moves on


def _scene_loss(network: ReaderNetwork, batch: Batch, rng: torch.Generator) -> Tensor:
    """Of finding heads and reading the scene, in `_LOOKED_AT` frames of every clip."""
    looked_at = torch.randperm(FRAMES, generator=rng)[:_LOOKED_AT]
    maps, features = network.look(_pixels(batch.frames[:, looked_at].flatten(0, 1)))
    maps = maps.float().reshape(-1, _LOOKED_AT, *maps.shape[1:])
    scene = network.read_scene(features.reshape(-1, _LOOKED_AT, features.shape[1]))
    loss = _finding_loss(maps, batch, looked_at)
    return loss + sum((_cross_entropy(logits, batch.scene[name]) for name, logits in scene.items()), torch.zeros(()))


def _looks_loss(network: ReaderNetwork, batch: Batch, rng: torch.Generator, *, jitter: bool) -> Tensor:
    """Of reading the looks, in one frame of every hero: five frames of one hero teach little more than one."""
    one = torch.multinomial(batch.there, 1, generator=rng)[:, 0]
    number = torch.arange(len(one))
    boxes = batch.boxes[number, one]
    if jitter:
        boxes = _jittered(boxes, rng)
    seen = network.see(_pixels(batch.frames[batch.clip, one]), boxes)[:, None]
    logits = network.read_looks(seen, torch.ones(len(one), 1))
    return sum((_cross_entropy(logits[name], batch.heroes[name]) for name in HERO_CLASSES), torch.zeros(()))


def _action_loss(network: ReaderNetwork, batch: Batch, rng: torch.Generator, *, jitter: bool) -> Tensor:
    boxes = _jittered(batch.boxes, rng) if jitter else batch.boxes
    seen = network.see(_pixels(batch.frames[batch.clip].flatten(0, 1)), boxes.flatten(0, 1))
    seen = seen.reshape(len(boxes), FRAMES, seen.shape[1])
    weight = torch.tensor([_RARE if action in MOVING else 1.0 for action in CLASSES["action"]])
    return _cross_entropy(network.read_action(seen, boxes, batch.there), batch.heroes["action"], weight)


def _pixels(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1


def _jittered(boxes: Tensor, rng: torch.Generator) -> Tensor:
    """Heads are not always found exactly."""
    jitter = torch.randn(boxes.shape, generator=rng) * torch.tensor([0.04, 0.04, 0.06, 0.06])
    size = boxes[..., 2:]
    return torch.cat([boxes[..., :2] + jitter[..., :2] * size, size * jitter[..., 2:].exp()], -1)


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean over what counts; 0 if nothing does. `weight`: how much each class adds to it."""
    summed = functional.cross_entropy(logits.float(), target, weight, ignore_index=-1, reduction="sum")
    return summed / max(1, int((target >= 0).sum()))


def _finding_loss(maps: Tensor, batch: Batch, looked_at: Tensor) -> Tensor:
    """Is a head's middle in this cell, and if so, where and how large is it?"""
    rows, columns = maps.shape[3:]
    boxes, there = batch.boxes[:, looked_at] / GRID, batch.there[:, looked_at] > 0
    hero, frame = there.nonzero(as_tuple=True)
    box, clip = boxes[hero, frame], batch.clip[hero]
    column = box[:, 0].long().clamp(0, columns - 1)
    row = box[:, 1].long().clamp(0, rows - 1)
    wanted = torch.zeros_like(maps[:, :, 0])
    wanted[clip, frame, row, column] = 1
    found = functional.binary_cross_entropy_with_logits(maps[:, :, 0], wanted, reduction="sum")
    place = torch.stack([box[:, 0] - column, box[:, 1] - row, box[:, 2].log(), box[:, 3].log()], 1)
    off = functional.smooth_l1_loss(maps[clip, frame, 1:, row, column], place, beta=0.1, reduction="sum")
    return (found + off) / max(1, len(box))


def _optimize(
    parameters: Iterable[Tensor],
    steps: int,
    rate: float,
    loss_of: Callable[[int], Tensor],
    on_step: Callable[[int, float], None] | None,
) -> None:
    """AdamW with a short rise and half a cosine."""
    weights = list(parameters)
    optimizer = torch.optim.AdamW(weights, weight_decay=0.02, betas=(0.9, 0.98))
    warmup = min(100, max(1, steps // 10))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.005)
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))


def train_reader(
    steps: int,
    *,
    start: ReaderNetwork | None = None,
    batch_size: int = 96,
    seed: int = 0,
    beside: bool = False,
    through: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> ReaderNetwork:
    """Train a reader on drawings of the split "train"; the same arguments on one thread give the same reader.

    Args:
        steps: optimizer steps.
        start: a reader to go on with, as when the drawings have changed; it is changed. None begins anew.
        batch_size: shots per step; a sixth of them for everything but the looks.
        seed: of the first weights, the damage and the shots.
        beside: draw in another process meanwhile; the reader is the same.
        through: the folder of a VAE: most drawings are learned from as it gives them back.
        on_step: told the number of the step and its loss.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _for_training(ReaderNetwork() if start is None else start).train()
    rng = torch.Generator().manual_seed(seed)
    fresh = max(1, batch_size // _USES)
    with Pool(seed * 10**9, seed, begin=4 * batch_size, fresh=fresh, beside=beside, through=through) as pool:

        def loss(step: int) -> Tensor:
            pool.renew()
            batch, part = pool.batches(batch_size, max(1, batch_size // _PARTS), rng)
            scene, looks = _scene_loss(network, part, rng), _looks_loss(network, batch, rng, jitter=True)
            return scene + looks + _action_loss(network, part, rng, jitter=True)

        _optimize(network.parameters(), steps, _RATE, loss, on_step)
    return network.eval()


def _for_training(network: ReaderNetwork) -> ReaderNetwork:
    """With channels last, with which convolutions take two thirds of the time on a CPU."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def refine_reader(
    network: ReaderNetwork,
    steps: int,
    *,
    batch_size: int = 96,
    seed: int = 0,
    beside: bool = False,
    through: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> ReaderNetwork:
    """Teach a trained reader to read heroes where it finds them itself; what finds them stays as it is, and the scene.

    Args:
        network: from `train_reader`; it is changed.
        steps: optimizer steps; none leave it as it is.
        batch_size: shots per step; a quarter of them for the actions.
        seed: of the damage and the shots.
        beside: draw in another process meanwhile; the reader is the same.
        through: the folder of a VAE: most drawings are learned from as it gives them back.
        on_step: told the number of the step and its loss.
    """
    rng = torch.Generator().manual_seed(seed + 1)
    network = _for_training(network).eval()
    learns = [network.hero, network.light, network.joined, network.hero_heads, network.step, network.action]
    with Pool(
        seed * 10**9 + 5 * 10**8,
        seed + 1,
        begin=8 * batch_size,
        fresh=max(1, batch_size // _USES),
        beside=beside,
        through=through,
        change=lambda example: _as_found(network, example),
    ) as pool:

        def loss(step: int) -> Tensor:
            pool.renew()
            batch, part = pool.batches(batch_size, max(1, batch_size // 4), rng)
            looks = _looks_loss(network, batch, rng, jitter=False)
            return looks + 2 * _action_loss(network, part, rng, jitter=False)

        for module in learns:
            module.train()
        parameters = [parameter for module in learns for parameter in module.parameters()]
        _optimize(parameters, steps, _RATE / 2, loss, on_step)
    return network.eval()


def _as_found(network: ReaderNetwork, example: Example) -> Example:
    """The example with heads where the network finds them: in the likeliest cell around the true one."""
    if not example.heroes:
        return example
    with torch.inference_mode():
        maps = network.look(_pixels(torch.from_numpy(example.frames)))[0]
    likely = maps[:, 0].sigmoid()
    rows, columns = likely.shape[1:]
    all_boxes, all_there = [], []
    for true_boxes, true_there in zip(example.boxes, example.there, strict=True):
        boxes, there = [], []
        for frame, (box, seen) in enumerate(zip(true_boxes, true_there, strict=True)):
            top, left = (max(0, min(n - 1, int(v / GRID)) - 1) for n, v in ((rows, box[1]), (columns, box[0])))
            near = likely[frame, top : top + 3, left : left + 3]
            row, column = divmod(int(near.argmax()), near.shape[1])
            x, y, width, height = maps[frame, 1:, top + row, left + column].tolist()
            boxes.append(
                [(left + column + x) * GRID, (top + row + y) * GRID, math.exp(width) * GRID, math.exp(height) * GRID]
            )
            there.append(float(bool(seen) and float(near.max()) >= SURE))
        if any(there):
            first = boxes[there.index(1.0)]
            boxes = [box if known else first for box, known in zip(boxes, there, strict=True)]
        else:
            boxes, there = true_boxes, true_there
        all_boxes.append(steady(torch.tensor([boxes]), torch.tensor([there]))[0].tolist())
        all_there.append(there)
    return replace(example, boxes=all_boxes, there=all_there)


def measure_reader(
    network: ReaderNetwork, shots: int, *, height: int = HEIGHT, width: int = WIDTH, damage: bool = False
) -> dict[str, float]:
    """How often the reader is right on shots of the split "test", by attribute; finding the heroes is part of it.

    Args:
        network: the reader's.
        shots: how many, by lot, each of 17 frames.
        height, width: of the drawings.
        damage: blurred, noisy and through JPEG, as in training.

    Returns:
        Shares from 0 to 1: those of `CLASSES`, of what can be seen in the middle frame; and "heroes": as many found as
        there are. A hero that was not found counts as wrong in everything.
    """
    reader = Reader(network, {}, {})
    right: dict[str, list[bool]] = {name: [] for name in ("heroes", *CLASSES)}
    rng = np.random.default_rng(0)
    for seed in range(shots):
        spec = sample_shot(seed, "test", two_heroes=TWO_HEROES)
        truth = ground_truth(spec, SECOND, height, width)
        frames = render([spec], SECOND, height, width)[0].transpose(0, 1).contiguous()
        if damage:
            frames = damaged(frames, int(rng.integers(2**31)))
        reading = reader.read(frames.numpy())
        for name in SCENE_CLASSES:
            if truth[name] is not None:
                right[name].append(getattr(reading, name) == truth[name])
        heroes = truth["heroes"]
        right["heroes"].append(len(reading.heroes) == len(heroes))
        for number, hero in enumerate(heroes):
            read = reading.heroes[number] if len(reading.heroes) == len(heroes) else None
            right["action"].append(read is not None and read.action == hero["action"])
            for name in HERO_CLASSES:
                if target_of(name, hero) >= 0:
                    right[name].append(read is not None and read.attributes[name] == hero["attributes"][name])
    return {name: float(np.mean(values)) for name, values in right.items() if values}


def save_reader(network: ReaderNetwork, path: Path, accuracy: dict[str, float], about: dict[str, Any]) -> None:
    """Write a reader with what is known of it; weights in half precision.

    Raises:
        StorageError: the system refused it.
    """
    from safetensors.torch import save

    weights = {
        name: tensor.half().contiguous() for name, tensor in network.state_dict().items() if tensor.is_floating_point()
    }
    about = {**about, "torch": torch.__version__, "machine": platform.machine()}
    rounded = {name: round(share, 4) for name, share in accuracy.items()}
    try:
        path.write_bytes(save(weights, {"accuracy": json.dumps(rounded), "about": json.dumps(about)}))
    except OSError as error:
        raise StorageError(path, error) from error
