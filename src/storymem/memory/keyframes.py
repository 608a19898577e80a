"""From the frames of a shot to its keyframes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storymem.errors import ModelError
from storymem.memory.bank import FloatArray, Keyframe, MemoryBank
from storymem.memory.encoders import AestheticScorer, FrameEncoder
from storymem.memory.selection import drop_repetitions, select_keyframes
from storymem.settings import MemoryConfig

__all__ = ["choose_keyframes", "encode_references"]


def choose_keyframes(
    frames: FloatArray,
    *,
    encoder: FrameEncoder,
    scorer: AestheticScorer | None,
    config: MemoryConfig,
    bank: MemoryBank,
    shot_id: str,
    shot_index: int,
) -> tuple[Keyframe, ...]:
    """The keyframes that a shot adds to the memory: see `select_keyframes` and `drop_repetitions` for the rules.

    Every frame is encoded once, in one call. The scorer, which may cost a hundred times as much, is asked at most once
    about a frame, and only about frames that are unlike the last keyframe or might be the first.

    Args:
        frames: ``[F, 3, H, W]``, float32, in [-1, 1], as decoded; any size.
        encoder: the film's frame encoder.
        scorer: the film's quality scorer; None accepts every frame.
        config: thresholds and numbers. With a capacity of 0 there is no memory and nothing is encoded.
        bank: what the shot saw; its keyframes may have any sizes.
        shot_id: stable id of the shot.
        shot_index: 0-based position of the shot in the film.

    Returns:
        At most `config.max_keyframes_per_shot` keyframes, in order; none when no frame is good enough, or when all that
        were chosen repeat the bank.

    Raises:
        ModelError: a frame has values that are not finite: the model that made it overflowed.
        SettingsError: the bank was encoded by an encoder of another dimension.
    """
    if config.capacity == 0 or not len(frames):
        return ()
    _check_finite(frames, f"shot {shot_id}")
    remembered = bank.embeddings(encoder.dimension)
    embeddings = encoder.encode(frames)
    scores: dict[int, float] = {}

    def quality(indices: Sequence[int]) -> FloatArray:
        assert scorer is not None
        new = scorer.score(frames[list(indices)])
        scores.update(zip(indices, map(float, new), strict=True))
        return new

    threshold = config.quality_threshold
    if threshold is None:
        threshold = scorer.default_threshold if scorer is not None else 0.0
    selection = select_keyframes(
        embeddings,
        None if scorer is None else quality,
        similarity_threshold=config.similarity_threshold,
        threshold_step=config.threshold_step,
        max_keyframes=config.max_keyframes_per_shot,
        quality_threshold=threshold,
    )
    chosen = embeddings[list(selection.indices)]
    kept = [selection.indices[i] for i in drop_repetitions(chosen, remembered, config.similarity_threshold)]
    return tuple(
        Keyframe.from_pixels(
            frames[index],
            embeddings[index],
            quality=scores.get(index),
            shot_id=shot_id,
            shot_index=shot_index,
            frame_index=index,
        )
        for index in kept
    )


def encode_references(
    images: Sequence[FloatArray], *, encoder: FrameEncoder, labels: Sequence[str] = ()
) -> tuple[Keyframe, ...]:
    """Reference images as keyframes, for `MemoryPolicy.start`.

    They are not scored: whoever gives a reference image wants it.

    Args:
        images: each ``[3, H, W]``, float32, in [-1, 1]; sizes may differ.
        encoder: the film's frame encoder.
        labels: one per image, or none at all.

    Raises:
        ModelError: an image has values that are not finite.
    """
    names = list(labels) or [""] * len(images)
    keyframes = []
    for image, label in zip(images, names, strict=True):
        _check_finite(image[None], f"reference image {label}".rstrip())
        keyframes.append(Keyframe.from_pixels(image, encoder.encode(image[None])[0], label=label))
    return tuple(keyframes)


def _check_finite(frames: FloatArray, what: str) -> None:
    for index, frame in enumerate(frames):
        if not np.isfinite(frame).all():
            raise ModelError(
                f"{what}, frame {index}: the picture has values that are no finite numbers, so the model that made it "
                "overflowed: run it in bfloat16 or float32."
            )
