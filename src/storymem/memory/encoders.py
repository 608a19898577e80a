"""What turns frames into embeddings and scores, by name: loaded when it is asked for, and only once."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from storymem.errors import ModelError, SettingsError
from storymem.memory.bank import FloatArray

__all__ = [
    "ENCODERS",
    "SCORERS",
    "AestheticScorer",
    "FrameEncoder",
    "load_encoder",
    "load_scorer",
    "unload_models",
]

ENCODERS = ("builtin", "clip-vit-b32")
SCORERS = ("builtin", "hpsv3", "none")
_DTYPES = ("float32", "bfloat16", "float16")

_Key = tuple[str, str, str | None, str, str | None]


class FrameEncoder(Protocol):
    """Turns frames into vectors whose dot product says how much two frames show the same."""

    @property
    def name(self) -> str:
        """What it is called in settings."""

    @property
    def identity(self) -> str:
        """Changes whenever its results do; part of what a film remembers about how it was made."""

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""

    def encode(self, frames: FloatArray) -> FloatArray:
        """Embeddings ``[F, D]`` of unit norm for frames ``[F, 3, H, W]`` in [-1, 1]; batches are made inside.

        The embedding of a frame does not depend on the others given with it, but for rounding.
        """


class AestheticScorer(Protocol):
    """Says how good a frame is, on a scale of its own: higher is better."""

    @property
    def name(self) -> str:
        """What it is called in settings."""

    @property
    def identity(self) -> str:
        """Changes whenever its results do; part of what a film remembers about how it was made."""

    @property
    def default_threshold(self) -> float:
        """A frame scored below this is no keyframe."""

    def score(self, frames: FloatArray) -> FloatArray:
        """Scores ``[F]`` of frames ``[F, 3, H, W]`` in [-1, 1]; batches are made inside."""


_encoders: dict[_Key, FrameEncoder] = {}
_scorers: dict[_Key, AestheticScorer] = {}


def load_encoder(
    name: str,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    path: str | Path | None = None,
    source: str | None = None,
) -> FrameEncoder:
    """The frame encoder of that name; asked for again with the same arguments, the same object.

    Args:
        name: ``builtin`` (hand-made, no download, on the CPU whatever `device` says), ``clip-vit-b32`` (the method's),
            or a folder with another CLIP vision model as transformers saves it.
        device: where it runs, in torch's words: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: ``float32``, ``bfloat16`` or ``float16``; None is the encoder's own choice (float32).
        path: where the weights of a named model are, instead of the Hugging Face hub.
        source: ``repository@revision`` that the weights in `path` are known to come from, which is their identity then.

    Raises:
        ModelError: there is no such encoder, or its weights are missing or incomplete.
        SettingsError: an unknown dtype, or a path for an encoder that has no weights.
    """
    _check("frame encoder", name, dtype, path)
    key = (name, device, dtype, str(path or ""), source)
    if key not in _encoders:
        _encoders[key] = _make_encoder(name, device, dtype, path, source)
    return _encoders[key]


def _make_encoder(
    name: str, device: str, dtype: str | None, path: str | Path | None, source: str | None
) -> FrameEncoder:
    if name == "builtin":
        from storymem.memory.builtin import BuiltinEncoder

        return BuiltinEncoder()
    from storymem.memory.clip import ClipEncoder

    if name == "clip-vit-b32":
        return ClipEncoder.load(path, device=device, dtype=dtype, source=source)
    if Path(name).is_dir():
        return ClipEncoder.load(name, device=device, dtype=dtype)
    choices = ", ".join(ENCODERS)
    raise ModelError(f"frame encoder {name!r} is unknown: use one of {choices}, or a folder with a CLIP vision model.")


def load_scorer(
    name: str,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    path: str | Path | None = None,
    source: str | None = None,
) -> AestheticScorer | None:
    """The quality scorer of that name; asked for again with the same arguments, the same object.

    Args:
        name: ``builtin`` (hand-made, sees distortion, no download, on the CPU), ``hpsv3`` (the method's, 7B
            parameters), or ``none``.
        device: where it runs, in torch's words.
        dtype: ``float32``, ``bfloat16`` or ``float16``; None is the scorer's own choice (bfloat16).
        path: a folder with the weights, instead of the Hugging Face hub; see `storymem.memory.hpsv3`.
        source: ``repository@revision`` that the weights in `path` are known to come from, which is their identity then.

    Returns:
        The scorer, or None for ``none``: every frame is good enough.

    Raises:
        ModelError: there is no such scorer, or its weights are missing or incomplete.
        SettingsError: an unknown dtype, or a path for a scorer that has no weights.
    """
    _check("quality scorer", name, dtype, path)
    if name == "none":
        return None
    key = (name, device, dtype, str(path or ""), source)
    if key not in _scorers:
        _scorers[key] = _make_scorer(name, device, dtype, path, source)
    return _scorers[key]


def _make_scorer(
    name: str, device: str, dtype: str | None, path: str | Path | None, source: str | None
) -> AestheticScorer:
    if name == "builtin":
        from storymem.memory.builtin import BuiltinScorer

        return BuiltinScorer()
    if name == "hpsv3":
        from storymem.memory.hpsv3 import Hpsv3Scorer

        return Hpsv3Scorer.load(path, device=device, dtype=dtype, source=source)
    raise ModelError(f"quality scorer {name!r} is unknown: use one of {', '.join(SCORERS)}.")


def unload_models() -> None:
    """Forget the loaded encoders and scorers, so that their memory is free once nobody else holds them."""
    _encoders.clear()
    _scorers.clear()


def _check(what: str, name: str, dtype: str | None, path: str | Path | None) -> None:
    if dtype is not None and dtype not in _DTYPES:
        raise SettingsError(f"dtype {dtype!r} of the {what} is unknown: use one of {', '.join(_DTYPES)}.")
    if path is not None and name in ("builtin", "none"):
        raise SettingsError(f"the {what} {name!r} has no weights to be read from {path}: leave the path out.")
    if path is not None and not Path(path).is_dir():
        raise ModelError(f"{path}: there is no such folder with the weights of the {what} {name!r}: check the path.")
