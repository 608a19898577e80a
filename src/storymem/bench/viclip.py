"""ViCLIP-L/14 as a video encoder: the measure of the method's paper, and of VBench's overall consistency."""

from __future__ import annotations

import gzip
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storymem.bench.clip_pixels import PIXELS, clip_pixels
from storymem.errors import CheckpointError, ModelError
from storymem.media import FloatArray
from storymem.memory.weights import device_dtype, fingerprint

if TYPE_CHECKING:
    from storymem.bench.viclip_network import ViClip, ViClipShape

__all__ = ["ViClipEncoder", "clip_tokenizer"]

_REPOSITORY = "OpenGVLab/ViCLIP-L-14-hf"
_REVISION = "1652361522e1cb41c28cdfae870f690d00e7456b"
_WEIGHTS = "model.safetensors"
_MERGES = "bpe_simple_vocab_16e6.txt.gz"
_MERGE_COUNT = 49152 - 256 - 2


class ViClipEncoder:
    """ViCLIP: shots and texts as unit vectors in one space.

    Eight frames, prepared as VBench does (`clip_pixels`; the demonstration of ViCLIP's authors normalises with
    ImageNet's mean instead, and squashes); texts cut to 32 tokens.

    Args:
        model: on the device it shall run on.
        tokenizer: from `clip_tokenizer`.
        identity: see `VideoEncoder.identity`.
    """

    name = "viclip-l14"
    knows_text = True

    def __init__(self, model: ViClip, tokenizer: Any, identity: str) -> None:
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self.identity = f"{identity}, {PIXELS}"

    @classmethod
    def load(
        cls,
        folder: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str | None = None,
        shape: ViClipShape | None = None,
    ) -> ViClipEncoder:
        """Read it from a folder (``model.safetensors`` and the merges of CLIP), or from the hub at a pinned revision.

        Args:
            folder: None: the hub.
            device: in torch's words.
            dtype: None is float32.
            shape: None is ViCLIP-L/14.

        Raises:
            ModelError: the folder or the hub does not have it.
            CheckpointError: weights are missing, too many, or of another shape.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from storymem.bench.viclip_network import ViClip, ViClipShape

        target, number_type = device_dtype(device, dtype, default=torch.float32)
        weights, merges = _files(folder)
        model = ViClip(shape or ViClipShape())
        try:
            state = load_file(weights)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{weights}: cannot be read ({error}): get the file again.") from error
        wanted = model.state_dict()
        wrong = sorted(set(wanted) ^ set(state)) or sorted(k for k in wanted if wanted[k].shape != state[k].shape)
        if wrong:
            raise CheckpointError(f"{weights}: {len(wrong)} weights of ViCLIP are missing or do not fit: {wrong[0]}.")
        model.load_state_dict(state)
        identity = f"{_REPOSITORY}@{_REVISION}" if folder is None else f"viclip:{fingerprint(Path(folder))}"
        return cls(
            model.to(target, number_type), clip_tokenizer(merges), f"{identity}:{str(number_type).split('.')[-1]}"
        )

    def encode(self, frames: FloatArray) -> FloatArray:
        """See `VideoEncoder.encode`."""
        import torch

        shape, place = self._model.shape, self._model.vision_encoder.proj
        if len(frames) != shape.frames:
            raise ValueError(f"ViCLIP sees {shape.frames} frames, not {len(frames)}")
        with torch.inference_mode():
            pixels = clip_pixels(frames, shape.side)[None].to(place.device, place.dtype)
            return _unit(self._model.vision_encoder(pixels)).reshape(-1)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `VideoEncoder.encode_texts`."""
        import torch

        place = self._model.text_encoder.text_projection
        tokens = torch.tensor([self.tokens(text) for text in texts], device=place.device)
        with torch.inference_mode():
            return _unit(self._model.text_encoder(tokens))

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text: start, words, end, then zeros; a longer text loses what is before its end token."""
        import ftfy

        context = self._model.shape.context
        clean = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
        ids = list(self._tokenizer(clean)["input_ids"])
        if len(ids) > context:
            ids = [*ids[: context - 1], ids[-1]]
        return ids + [0] * (context - len(ids))


def _unit(vectors: Any) -> FloatArray:
    import torch

    return np.asarray(torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy(), dtype=np.float32)


def _files(folder: str | Path | None) -> tuple[Path, Path]:
    if folder is not None:
        files = Path(folder) / _WEIGHTS, Path(folder) / _MERGES
        if missing := [file for file in files if not file.is_file()]:
            raise ModelError(f"{missing[0]}: there is no such file: give the folder of {_REPOSITORY}.")
        return files
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        one, other = (hf_hub_download(_REPOSITORY, name, revision=_REVISION) for name in (_WEIGHTS, _MERGES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"ViCLIP cannot be read from the Hugging Face hub ({reason}): check the connection, give its folder with "
            "--encoder-path, or measure with the encoder 'builtin'."
        ) from error
    return Path(one), Path(other)


def clip_tokenizer(merges: Path) -> Any:
    """CLIP's tokenizer from the file of merges that OpenAI published (``bpe_simple_vocab_16e6.txt.gz``).

    The vocabulary follows from the merges: 256 bytes, the same at a word's end, one token per merge, start and end.

    Raises:
        CheckpointError: the file holds no merges.
    """
    from transformers import CLIPTokenizer

    try:
        lines = gzip.decompress(merges.read_bytes()).decode("utf-8").split("\n")
        pairs: Any = [(one, two) for one, two in (line.split() for line in lines[1 : _MERGE_COUNT + 1] if line)]
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{merges}: holds no merges of CLIP's tokenizer ({error}): load it again.") from error
    letters = _byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in pairs)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=pairs)


def _byte_letters() -> list[str]:
    """A visible letter for every byte, in the order of CLIP's vocabulary: those that are visible stand first."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    return [chr(byte) for byte in visible] + [chr(256 + number) for number in range(256 - len(visible))]
