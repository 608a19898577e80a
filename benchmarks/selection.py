"""Keyframe selection: its time and the work it asks for, and whether the encoder can tell shots apart.

    python benchmarks/selection.py [--encoder builtin] [--scorer builtin] [--device cpu] [--video FILE] [--json FILE]

First table, per shot of 81 frames at 832x480: calls of the encoder and the scorer and the frames they were asked about,
how far tau fell, and the best of three times. "Uncached" is how many frames an encoder sees when both frames of every
pair are encoded again for every threshold, as the method's public code does.

Second, "same shot or not": the area under the ROC curve of the similarity for pairs of frames of one shot against pairs
of two shots, and the shares on the right side of 0.9. On drawn shots, or with --video on a film, one frame of six; its
cuts are then taken to be where the mean difference of pixels jumps.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from storymem.media import from_uint8, read_video
from storymem.memory import (
    AestheticScorer,
    FloatArray,
    FrameEncoder,
    MemoryBank,
    choose_keyframes,
    load_encoder,
    load_scorer,
    select_keyframes,
)
from storymem.settings import MemoryConfig

FRAMES, HEIGHT, WIDTH = 81, 480, 832
EVERY = 6


class Counted:
    """An encoder or scorer, and how often it was called about how many frames."""

    def __init__(self, inner: FrameEncoder | AestheticScorer) -> None:
        self.inner = inner
        self.calls = self.frames = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def encode(self, frames: FloatArray) -> FloatArray:
        """Count, then encode."""
        return self._counted(self.inner.encode, frames)

    def score(self, frames: FloatArray) -> FloatArray:
        """Count, then score."""
        return self._counted(self.inner.score, frames)

    def _counted(self, work: Callable[[FloatArray], FloatArray], frames: FloatArray) -> FloatArray:
        self.calls += 1
        self.frames += len(frames)
        return work(frames)


def drawn(seed: int, shift: float = 0.0, height: int = HEIGHT, width: int = WIDTH) -> FloatArray:
    """A ground, a sky and some shapes ``[3, height, width]``, the shapes moved by `shift` of the width."""
    rng = np.random.default_rng(seed)
    sky, ground = (tuple(rng.integers(0, 256, 3).tolist()) for _ in range(2))
    picture = Image.new("RGB", (width, height), sky)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, int(height * rng.uniform(0.3, 0.8)), width, height), fill=ground)
    for _ in range(8):
        x, y, radius = (rng.uniform() + shift) * width, rng.uniform() * height, rng.uniform(0.05, 0.2) * height
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return from_uint8(np.asarray(picture))


def shots() -> dict[str, FloatArray]:
    """Shots ``[81, 3, 480, 832]`` that make little and much work."""
    return {
        "still": np.stack([drawn(0)] * FRAMES),
        "slow pan": np.stack([drawn(1, i / FRAMES * 0.1) for i in range(FRAMES)]),
        "wild pan": np.stack([drawn(2, i / FRAMES * 2 - 1) for i in range(FRAMES)]),
        "ten scenes": np.stack([drawn(10 + i // 8) for i in range(FRAMES)]),
        "black": np.full((FRAMES, 3, HEIGHT, WIDTH), -1, dtype=np.float32),
    }


def uncached(embeddings: FloatArray, quality: FloatArray | None, config: MemoryConfig, threshold: float) -> int:
    """Frames encoded when no embedding is kept: two for each comparison, for every threshold there is."""
    settings = {"threshold_step": config.threshold_step, "quality_threshold": threshold}
    last = select_keyframes(embeddings, quality, max_keyframes=config.max_keyframes_per_shot, **settings).threshold
    tries = round((config.similarity_threshold - last) / config.threshold_step) + 1
    good = len(embeddings) if quality is None else int((quality[2:] >= threshold).sum())
    return 2 * tries * good


def selection_work(encoder: FrameEncoder, scorer: AestheticScorer | None) -> list[dict[str, object]]:
    """One row per shot."""
    config = MemoryConfig()
    rows: list[dict[str, object]] = []
    for name, frames in shots().items():
        times = []
        for _ in range(3):
            counted, judge = Counted(encoder), None if scorer is None else Counted(scorer)
            start = time.perf_counter()
            keyframes = choose_keyframes(
                frames, encoder=counted, scorer=judge, config=config, bank=MemoryBank(), shot_id="01-01", shot_index=0
            )
            times.append(time.perf_counter() - start)
        embeddings = encoder.encode(frames)
        quality = None if scorer is None else scorer.score(frames)
        threshold = 0.0 if scorer is None else scorer.default_threshold
        tau = select_keyframes(embeddings, quality, quality_threshold=threshold).threshold
        rows.append(
            {
                "shot": name,
                "keyframes": [k.frame_index for k in keyframes],
                "tau": tau,
                "encoder_calls": counted.calls,
                "frames_encoded": counted.frames,
                "uncached": uncached(embeddings, quality, config, threshold),
                "scorer_calls": judge.calls if judge else 0,
                "frames_scored": judge.frames if judge else 0,
                "seconds": round(min(times), 4),
            }
        )
    return rows


def film_frames(video: Path) -> tuple[list[FloatArray], list[int]]:
    """Every sixth frame of a film, 416 wide, and the number of its shot."""
    frames: list[FloatArray] = []
    differences, kept_at = [], []
    before = None
    for index, picture in enumerate(read_video(video)):
        small = np.asarray(Image.fromarray(picture).resize((64, 36), Image.Resampling.BOX), dtype=np.float32)
        differences.append(0.0 if before is None else float(np.abs(small - before).mean()))
        before = small
        if index % EVERY == 0:
            height = round(416 * picture.shape[0] / picture.shape[1])
            frames.append(from_uint8(np.asarray(Image.fromarray(picture).resize((416, height), Image.Resampling.BOX))))
            kept_at.append(index)
    usual = [float(np.median(differences[max(0, i - 12) : i + 13])) for i in range(len(differences))]
    cuts = [i for i, (now, around) in enumerate(zip(differences, usual, strict=True)) if now > max(12, 4 * around + 2)]
    return frames, np.searchsorted(cuts, kept_at, side="right").tolist()


def telling_apart(encoder: FrameEncoder, video: Path | None) -> dict[str, object]:
    """Similarities of pairs within shots and across shots, and what they are worth."""
    if video is None:
        frames = [drawn(seed, i * 0.01, 234, 416) for seed in range(40) for i in range(8)]
        shot = [seed for seed in range(40) for _ in range(8)]
    else:
        frames, shot = film_frames(video)
    embeddings = np.concatenate([encoder.encode(np.stack(frames[i : i + 64])) for i in range(0, len(frames), 64)])
    rng = np.random.default_rng(0)
    numbers = np.array(shot)
    within = []
    for number in np.unique(numbers):  # every shot counts alike, however long
        members = np.flatnonzero(numbers == number)
        pairs = rng.choice(members, (20, 2))
        within += [(a, b) for a, b in pairs if a != b]
    any_two = rng.integers(0, len(numbers), (30_000, 2))
    across = any_two[numbers[any_two[:, 0]] != numbers[any_two[:, 1]]]
    neighbours = np.stack([np.arange(len(numbers) - 1), np.arange(1, len(numbers))], axis=1)
    same = numbers[neighbours[:, 0]] == numbers[neighbours[:, 1]]

    def similar(pairs: object) -> np.ndarray:
        first, second = np.array(pairs).T
        return np.einsum("nd,nd->n", embeddings[first], embeddings[second])

    one, two, continued, cut = (similar(p) for p in (within, across, neighbours[same], neighbours[~same]))
    both = np.concatenate([one, two])
    ranks = both.argsort().argsort()
    return {
        "source": "drawn shots" if video is None else video.name,
        "shots": len(np.unique(numbers)),
        "frames": len(numbers),
        "auc": round(float((ranks[: len(one)].mean() - (len(one) - 1) / 2) / len(two)), 4),
        "median_same": round(float(np.median(one)), 3),
        "median_different": round(float(np.median(two)), 3),
        "neighbours_above_tau": round(float((continued > 0.9).mean()), 3),
        "cuts_below_tau": round(float((cut < 0.9).mean()), 3),
        "different_below_tau": round(float((two < 0.9).mean()), 3),
    }


def main() -> None:
    """Measure, print, and write the figures on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="builtin", help="name, or a folder with a CLIP vision model")
    parser.add_argument("--scorer", default="builtin")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--video", type=Path, help="a film with cuts, for the second part")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    encoder = load_encoder(options.encoder, device=options.device)
    scorer = load_scorer(options.scorer, device=options.device)
    rows = selection_work(encoder, scorer)
    print(f"{'shot':<11} {'tau':>5} {'encoder':>14} {'uncached':>9} {'scorer':>14} {'seconds':>8}  keyframes")
    for row in rows:
        encoded = f"{row['encoder_calls']} call, {row['frames_encoded']}"
        scored = f"{row['scorer_calls']} calls, {row['frames_scored']}"
        print(
            f"{row['shot']:<11} {row['tau']:>5} {encoded:>14} {row['uncached']:>9} {scored:>14} {row['seconds']:>8}"
            f"  {row['keyframes']}"
        )
    apart = telling_apart(encoder, options.video)
    print("\nsame shot or not:")
    for key, value in apart.items():
        print(f"  {key:<22} {value}")
    if options.json:
        result = {"encoder": encoder.identity, "machine": platform.machine(), "selection": rows, "same_shot": apart}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
