"""LAION's aesthetic predictor on CLIP ViT-L/14: the measure of beauty of VBench and of the method's paper."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storymem.bench.clip_pixels import PIXELS, clip_pixels
from storymem.errors import CheckpointError, ModelError
from storymem.media import FloatArray
from storymem.memory.clip import ClipEncoder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LaionJudge"]

_REPOSITORY = "openai/clip-vit-large-patch14"
_REVISION = "32bd64288804d66eefd0ccbe215aa642df71cc41"
_HEAD = "https://github.com/LAION-AI/aesthetic-predictor (sa_0_4_vit_l_14_linear.pth, 4 KB)"
_BATCH = 32


class LaionJudge:
    """A linear head on the unit image features of CLIP; its 0 to 10 divided by ten, as VBench does.

    Args:
        clip: `CLIPVisionModelWithProjection` of transformers, on the device it shall run on.
        head: `Linear` from CLIP's features to one number.
        identity: see `FrameJudge.identity`.
    """

    name = "laion"

    def __init__(self, clip: Any, head: nn.Linear, identity: str) -> None:
        self._clip = clip.eval().requires_grad_(False)
        self._head = head.eval().requires_grad_(False)
        self.identity = f"{identity}, {PIXELS}"

    @classmethod
    def load(
        cls, clip: Path | None = None, head: Path | None = None, *, device: str = "cpu", dtype: str | None = None
    ) -> LaionJudge:
        """Read CLIP from a folder or the hub, and the head from its file.

        Args:
            clip: folder of CLIP ViT-L/14 as transformers saves it; None: the hub, at a pinned revision.
            head: the head's file (``.pth`` or ``.safetensors``). LAION publishes it on GitHub, not on the hub.
            device: in torch's words.
            dtype: of CLIP; None is float32.

        Raises:
            ModelError: a file is not there.
            CheckpointError: the weights do not fit.
        """
        import torch
        from safetensors import SafetensorError

        if head is None or not head.is_file():
            raise ModelError(f"the judge laion needs --judge-head, the file of its linear head: get it from {_HEAD}.")
        vision = ClipEncoder.load(clip, device=device, dtype=dtype, repository=_REPOSITORY, revision=_REVISION)
        linear = torch.nn.Linear(vision.dimension, 1)
        try:
            linear.load_state_dict(_read(head))
        except (RuntimeError, ValueError, OSError, KeyError, EOFError, SafetensorError) as error:
            reason = (str(error).strip() or "it is empty").splitlines()[0]
            raise CheckpointError(f"{head}: is no aesthetic head for this CLIP ({reason}).") from error
        digest = hashlib.sha256(head.read_bytes()).hexdigest()[:16]
        return cls(vision.model, linear, f"{vision.identity}+laion-linear:{digest}")

    def judge(self, frames: FloatArray) -> FloatArray:
        """See `FrameJudge.judge`."""
        import torch

        weight = self._clip.visual_projection.weight
        scores = [np.zeros(0, dtype=np.float32)]
        with torch.inference_mode():
            for start in range(0, len(frames), _BATCH):
                pixels = clip_pixels(frames[start : start + _BATCH], self._clip.config.image_size)
                features = self._clip(pixel_values=pixels.to(weight.device, weight.dtype)).image_embeds.float().cpu()
                unit = torch.nn.functional.normalize(features, dim=-1)
                scores.append((self._head(unit)[:, 0] / 10).numpy())
        return np.concatenate(scores)


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    import pickle

    import torch

    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise ValueError(f"it holds more than weights: {error}") from error
