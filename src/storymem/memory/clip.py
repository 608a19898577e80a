"""CLIP image features, the method's frame embeddings: ViT-B/32 by OpenAI, or any other CLIP that transformers saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storymem.errors import CheckpointError, ModelError
from storymem.memory.bank import FloatArray
from storymem.memory.weights import device_dtype, fingerprint

if TYPE_CHECKING:
    import torch
    from transformers import CLIPVisionModelWithProjection

__all__ = ["ClipEncoder"]

_REPOSITORY = "openai/clip-vit-base-patch32"
_REVISION = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the images CLIP was trained on, RGB in [0, 1]
_STD = (0.26862954, 0.26130258, 0.27577711)
_BATCH = 32


class ClipEncoder:
    """Image features of a CLIP vision model, L2-normalised.

    As in the method, the whole frame is squashed to the model's square (224 x 224) by bilinear interpolation, with
    neither crop nor antialiasing, then normalised with CLIP's mean and deviation.

    Args:
        model: the vision model with its projection, on the device it shall run on.
        identity: see `FrameEncoder.identity`.
    """

    name = "clip-vit-b32"

    def __init__(self, model: CLIPVisionModelWithProjection, identity: str) -> None:
        self._model: Any = model.eval().requires_grad_(False)  # type: ignore[no-untyped-call]
        self.identity = identity

    @property
    def model(self) -> Any:
        """The vision model itself."""
        return self._model

    @classmethod
    def load(
        cls,
        folder: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str | None = None,
        repository: str = _REPOSITORY,
        revision: str = _REVISION,
        source: str | None = None,
    ) -> ClipEncoder:
        """Read the model from a folder, or from the Hugging Face hub at a pinned revision.

        Args:
            folder: with ``config.json`` and weights as transformers saves a CLIP model or its vision half;
                None: the hub.
            device: in torch's words.
            dtype: None is float32.
            repository: of the hub.
            revision: in it.
            source: see `identity_of`.

        Raises:
            ModelError: the folder or the hub does not have the model.
            CheckpointError: weights are missing in it, or damaged.
        """
        import torch
        from safetensors import SafetensorError
        from transformers import CLIPVisionModelWithProjection

        place = repository if folder is None else str(folder)
        target, number_type = device_dtype(device, dtype, default=torch.float32)
        where: dict[str, Any] = {"revision": revision} if folder is None else {"local_files_only": True}
        try:
            loaded: Any = CLIPVisionModelWithProjection.from_pretrained(
                place, dtype=number_type, output_loading_info=True, **where
            )
        except OSError as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"CLIP cannot be read from {place} ({reason}): check the folder or the connection to the Hugging Face "
                "hub, or choose the frame encoder 'builtin'."
            ) from error
        except SafetensorError as error:
            raise CheckpointError(
                f"{place}: weights of CLIP are damaged or cut off ({error}): get them again."
            ) from error
        model, report = loaded
        wrong = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
        if wrong:
            raise CheckpointError(
                f"{place}: {len(wrong)} weights of CLIP are missing or do not fit, such as {wrong[0]}."
            )
        kind = str(number_type).removeprefix("torch.")
        own = source if folder is not None else f"{repository}@{revision}"
        return cls(model.to(target), cls.identity_of(folder, dtype=kind, source=own))

    @staticmethod
    def identity_of(folder: str | Path | None = None, *, dtype: str = "float32", source: str | None = None) -> str:
        """The identity that `load` gives it, before anything is loaded.

        Args:
            folder: with the weights; None: the hub, at the method's revision if `source` does not say another.
            dtype: it computes in.
            source: ``repository@revision`` that the weights are known to come from, wherever they lie; None: of a
                folder, what its files contain.
        """
        if source is None:
            source = f"{_REPOSITORY}@{_REVISION}" if folder is None else f"clip:{fingerprint(Path(folder))}"
        return f"{source}:{dtype}"

    @property
    def dimension(self) -> int:
        """Length of an embedding: 512 for ViT-B/32."""
        return int(self._model.config.projection_dim)

    def encode(self, frames: FloatArray) -> FloatArray:
        """Embeddings ``[F, D]`` of frames ``[F, 3, H, W]``; see `FrameEncoder.encode`."""
        import torch

        parts = [np.zeros((0, self.dimension), dtype=np.float32)]
        with torch.inference_mode():
            for start in range(0, len(frames), _BATCH):
                batch = torch.tensor(np.ascontiguousarray(frames[start : start + _BATCH], dtype=np.float32))
                features = self._model(pixel_values=self._prepare(batch)).image_embeds.float()
                parts.append(torch.nn.functional.normalize(features, dim=-1).cpu().numpy())
        return np.concatenate(parts)

    def _prepare(self, frames: torch.Tensor) -> torch.Tensor:
        import torch

        weight = self._model.visual_projection.weight
        side = self._model.config.image_size
        pixels = (frames.to(weight.device) * 0.5 + 0.5).clamp(0, 1)
        pixels = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False)
        mean = pixels.new_tensor(_MEAN).view(1, 3, 1, 1)
        std = pixels.new_tensor(_STD).view(1, 3, 1, 1)
        return ((pixels - mean) / std).to(weight.dtype)
