"""What the attribute reader learns from: drawings of the split "train", some of them damaged, each used a few times."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from storymem.training.augment import augment
from storymem.training.sections import AugmentSection
from storymem.worlds.storyland.heroes import class_of
from storymem.worlds.storyland.reader_network import (
    CLASSES,
    FRAMES,
    HEIGHT,
    HERO_CLASSES,
    SCENE_CLASSES,
    SECOND,
    WIDTH,
    to_reading_size,
)
from storymem.worlds.storyland.rendering import FPS, render
from storymem.worlds.storyland.shots import sample_shot
from storymem.worlds.storyland.truth import ground_truth

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

    from storymem.conditioning.codec import LatentCodec

__all__ = ["TWO_HEROES", "Batch", "Example", "Pool", "damaged", "target_of"]

TWO_HEROES = 0.5
_DAMAGED = 0.4  # of the clips: generated shots are less sharp and less clean than drawn ones
_DAMAGE = AugmentSection(probability=1.0, noise=0.1, blur=1.3, jpeg=(30, 95), shift=0.0, colour=0.08)
_KEPT = 8192  # drawings in the pool
_THROUGH = 0.6  # of the clips come through a VAE, if there is one
_CODE_NOISE = 0.2  # at most, where a code's own spread is 1: what is made is not quite what is drawn
_LARGER = 2  # as large as it is read is what the small model's VAE is given


@dataclass(frozen=True, slots=True)
class Example:
    """One clip and what is to be read in it; targets of -1 do not count."""

    frames: npt.NDArray[np.uint8]  # [FRAMES, 3, H, W]
    scene: dict[str, int]
    boxes: list[list[list[float]]]  # of each hero in each frame: middle x, middle y, width, height of the head
    there: list[list[float]]  # 1 where the head is in the picture
    heroes: list[dict[str, int]]


@dataclass(frozen=True, slots=True)
class Batch:
    """The same for many clips; N heroes in all."""

    frames: Tensor  # uint8 [B, FRAMES, 3, H, W]
    scene: dict[str, Tensor]  # [B]
    clip: Tensor  # [N], of each hero
    boxes: Tensor  # [N, FRAMES, 4]
    there: Tensor  # [N, FRAMES]
    heroes: dict[str, Tensor]  # [N]


class Pool:
    """Drawings that are used several times; the next ones are drawn by another process while these are learned from.

    To be used as a context manager. The same calls give the same drawings, with another process or without.
    """

    def __init__(
        self,
        first: int,
        seed: int,
        *,
        begin: int,
        fresh: int,
        beside: bool = False,
        through: Path | None = None,
        change: Callable[[Example], Example] = lambda example: example,
    ) -> None:
        """An empty pool.

        Args:
            first: number of the first shot.
            seed: of the damage.
            begin: drawings of the first `renew`.
            fresh: drawings of every later one.
            beside: draw in another process.
            through: the folder of a VAE, through which most of the drawings go.
            change: what to do with a drawing before it is kept.
        """
        self._next, self._seed, self._through = first, seed, through
        self._begin, self._fresh, self._change = begin, fresh, change
        # Spawned, not forked: PyTorch's threads do not survive a fork.
        spawn = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(1, spawn, _one_thread) if beside else None
        self._ahead: Future[list[Example]] | None = None
        self.examples: list[Example] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def renew(self) -> None:
        """Let new drawings take the places of the oldest."""
        count = self._fresh if self.examples else self._begin
        if self._executor is None:
            drawn = _examples(self._numbers(count), self._seed, self._through)
        else:
            ahead = self._ahead or self._submit(self._executor, count)
            self._ahead = self._submit(self._executor, self._fresh)
            drawn = ahead.result()
        self.examples = [*self.examples, *map(self._change, drawn)][-_KEPT:]

    def batches(self, size: int, part: int, rng: torch.Generator) -> tuple[Batch, Batch]:
        """`size` drawings by lot, each in one mirror or the other; and the first `part` of them again."""
        chosen = torch.randint(len(self.examples), (size,), generator=rng).tolist()
        flip = torch.rand(size, generator=rng) < 0.5
        examples = [self.examples[i] for i in chosen]
        return _collate(examples, flip), _collate(examples[:part], flip[:part])

    def _submit(self, executor: ProcessPoolExecutor, count: int) -> Future[list[Example]]:
        return executor.submit(_examples, self._numbers(count), self._seed, self._through)

    def _numbers(self, count: int) -> range:
        numbers = range(self._next, self._next + count)
        self._next += count
        return numbers


def _one_thread() -> None:
    torch.set_num_threads(1)


def _examples(numbers: Sequence[int], seed: int, through: Path | None = None) -> list[Example]:
    """Draw shots of the split "train", and damage some of them or send them through a VAE."""
    specs = [sample_shot(number, "train", two_heroes=TWO_HEROES) for number in numbers]
    fps = FPS * (FRAMES - 1) / (SECOND - 1)
    larger = 1 if through is None else _LARGER
    clips = render(specs, FRAMES, larger * HEIGHT, larger * WIDTH, fps=fps).transpose(1, 2)
    examples = []
    for number, spec, clip in zip(numbers, specs, clips, strict=True):
        truth = ground_truth(spec, FRAMES, HEIGHT, WIDTH, fps=fps)
        rng = np.random.default_rng((seed, number))
        if through is not None and rng.random() < _THROUGH:
            frames = _coded(clip, through, int(rng.integers(2**31)))
        else:
            frames = to_reading_size(clip)
            frames = damaged(frames, int(rng.integers(2**31))) if rng.random() < _DAMAGED else frames
        seen = [hero for hero in truth["heroes"] if any(hero["head_boxes"])]
        examples.append(
            Example(
                frames=((frames.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy(),
                scene={n: -1 if truth[n] is None else c.index(truth[n]) for n, c in SCENE_CLASSES.items()},
                boxes=[_boxes(hero["head_boxes"]) for hero in seen],
                there=[[float(head is not None) for head in hero["head_boxes"]] for hero in seen],
                heroes=[
                    {**{n: target_of(n, hero) for n in HERO_CLASSES}, "action": CLASSES["action"].index(hero["action"])}
                    for hero in seen
                ],
            )
        )
    return examples


def _coded(clip: Tensor, folder: Path, seed: int) -> Tensor:
    """[F, 3, h, w] as a VAE gives it back from a somewhat noisy code, each frame as a picture; at the reading size."""
    codec = _codec(folder)
    latents = codec.encode(clip[:, :, None])
    random = torch.Generator().manual_seed(seed)
    strength = _CODE_NOISE * torch.rand((), generator=random)
    # The same in every frame, as damage is: it should not flicker.
    noise = strength * torch.randn(latents.shape[1:], generator=random)
    return to_reading_size(codec.decode(latents + noise)[:, :, 0])


@lru_cache(maxsize=1)
def _codec(folder: Path) -> LatentCodec:
    from storymem.models.checkpoints import load_components
    from storymem.training.block_code import quick_codec
    from storymem.training.stills import quicken_stills

    vae = cast("AutoencoderKLWan", load_components(None, vae=folder, only=["vae"]).vae).float().eval()
    quicken_stills(vae)
    return quick_codec(vae)


def damaged(clip: Tensor, seed: int) -> Tensor:
    """[F, 3, H, W] with the same damage in every frame: it should not flicker."""
    return torch.stack([augment(frame, _DAMAGE, np.random.default_rng(seed)) for frame in clip])


def _collate(examples: Sequence[Example], flip: Tensor) -> Batch:
    """Examples as one batch; those with `flip` in a mirror."""
    frames = torch.from_numpy(np.stack([example.frames for example in examples]))
    frames[flip] = frames[flip].flip(-1)
    clip = torch.tensor([i for i, example in enumerate(examples) for _ in example.heroes])
    boxes = torch.tensor([box for example in examples for box in example.boxes])
    boxes[..., 0] = torch.where(flip[clip, None], WIDTH - boxes[..., 0], boxes[..., 0])
    heroes = [hero for example in examples for hero in example.heroes]
    return Batch(
        frames,
        {name: torch.tensor([example.scene[name] for example in examples]) for name in SCENE_CLASSES},
        clip,
        boxes,
        torch.tensor([there for example in examples for there in example.there]),
        {name: torch.tensor([hero[name] for hero in heroes]) for name in (*HERO_CLASSES, "action")},
    )


def _boxes(heads: Sequence[Sequence[float] | None]) -> list[list[float]]:
    spare = next(head for head in heads if head is not None)
    return [_middle_and_size(head or spare) for head in heads]


def _middle_and_size(box: Sequence[float]) -> list[float]:
    x0, y0, x1, y1 = box
    return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]


def target_of(name: str, hero: dict[str, Any]) -> int:
    """The class of an attribute, or -1 if it cannot be seen; what is not worn has no colour."""
    return class_of(name, hero["attributes"][name]) if name in hero["visible"] else -1
