"""What chooses a film's keyframes and takes, read when first needed: a plan asks what it is, and nothing more of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

from storymem.film.critics import Critic, critic_named
from storymem.film.out_of_memory import enough_memory
from storymem.memory.bank import FloatArray
from storymem.memory.encoders import AestheticScorer, FrameEncoder, load_encoder, load_scorer
from storymem.models.store import downloaded, provenance

if TYPE_CHECKING:
    from pathlib import Path

    from storymem.memory.clip import ClipEncoder
    from storymem.memory.hpsv3 import Hpsv3Scorer

__all__ = ["DeferredCritic", "DeferredEncoder", "DeferredScorer", "critic_for", "encoder_for", "scorer_for"]

T = TypeVar("T")


class _Deferred(Generic[T]):
    """A tool that is read when it is first used.

    Args:
        name: what it is called in settings.
        identity: that it will have.
        read: reads it.
        instead: the option that needs less memory.
    """

    def __init__(self, name: str, identity: str, read: Callable[[], T], *, instead: str) -> None:
        self.name = name
        self.identity = identity
        self._read = read
        self._instead = instead

    def ready(self) -> None:
        """Read it now, if it was not yet.

        Raises:
            ModelError: its weights are not there or incomplete, or there is not enough memory for them.
        """
        _ = self._tool

    @cached_property
    def _tool(self) -> T:
        with enough_memory(f"while {self.name} was loaded", f"try {self._instead}"):
            return self._read()


class DeferredEncoder(_Deferred[FrameEncoder]):
    """A `FrameEncoder` that is read when the first frame is to be encoded."""

    @property
    def dimension(self) -> int:
        """See `FrameEncoder.dimension`; reads it."""
        return self._tool.dimension

    def encode(self, frames: FloatArray) -> FloatArray:
        """See `FrameEncoder.encode`."""
        with enough_memory(f"while {self.name} looked at frames", f"try {self._instead}"):
            return self._tool.encode(frames)


class DeferredScorer(_Deferred["Hpsv3Scorer"]):
    """HPSv3, read when the first frame is to be scored.

    Args:
        identity: that it will have.
        read: reads it.
        device: where it scores.
        rests: it waits in main memory between shots, so that the model has the GPU's to itself.
    """

    def __init__(self, identity: str, read: Callable[[], Hpsv3Scorer], *, device: str, rests: bool) -> None:
        from storymem.memory.hpsv3 import Hpsv3Scorer

        instead = "--scorer builtin" if rests else "--offload model, or --scorer builtin"
        super().__init__(Hpsv3Scorer.name, identity, read, instead=instead)
        self.default_threshold = Hpsv3Scorer.default_threshold
        self._device = device
        self._rests = rests

    def score(self, frames: FloatArray) -> FloatArray:
        """See `AestheticScorer.score`."""
        scorer = self._tool
        with enough_memory(f"while {self.name} scored frames", f"try {self._instead}"):
            try:
                return scorer.to(self._device).score(frames)
            finally:
                if self._rests:
                    scorer.to("cpu")


class DeferredCritic(_Deferred[Critic]):
    """A `Critic` that is read when the first take is to be judged."""

    def score(
        self, frames: FloatArray, *, prompt: str, characters: Sequence[str] | None, pictures: Sequence[FloatArray]
    ) -> float:
        """See `Critic.score`."""
        with enough_memory(f"while {self.name} judged a take", "try --takes 1"):
            return self._tool.score(frames, prompt=prompt, characters=characters, pictures=pictures)


def critic_for(name: str) -> Critic | None:
    """The critic of a film, by its name in the settings; None for ``none``.

    Raises:
        SettingsError: nobody has that name.
    """
    load = critic_named(name)
    return None if load is None else DeferredCritic(name, name, load, instead="--takes 1")


def encoder_for(name: str, *, device: str, known: str | None = None) -> FrameEncoder:
    """The frame encoder of a film, by its name in the settings; a downloaded one serves.

    Args:
        name: as `storymem.memory.encoders.load_encoder` has it.
        device: where it runs, in torch's words.
        known: identity by which the film knows its encoder.

    Raises:
        ModelError: there is no such encoder. Whether its weights are whole is seen when they are read.
    """
    from pathlib import Path

    path, source = downloaded(name), provenance(name)
    if name != "clip-vit-b32" and not (name != "builtin" and Path(name).is_dir()):
        return load_encoder(name, device=device, path=path)
    from storymem.memory.clip import ClipEncoder

    identity, source = _identity(ClipEncoder, path if name == "clip-vit-b32" else name, source, known)

    def read() -> FrameEncoder:
        return load_encoder(name, device=device, path=path, source=source)

    return DeferredEncoder(ClipEncoder.name, identity, read, instead="--encoder builtin")


def _identity(
    kind: type[ClipEncoder | Hpsv3Scorer], folder: Path | str | None, source: str | None, known: str | None
) -> tuple[str, str | None]:
    """The identity of weights, and the source to read them with so that they have it.

    Before it counted where they come from, those in a folder were known by their content; films may know them so still.
    """
    identity = kind.identity_of(folder, source=source)
    if folder is not None and known is not None and known != identity and known == kind.identity_of(folder):
        return known, None
    return identity, source


def scorer_for(name: str, *, device: str, rests: bool = False, known: str | None = None) -> AestheticScorer | None:
    """The quality scorer of a film, by its name in the settings; a downloaded one serves.

    Args:
        name: as `storymem.memory.encoders.load_scorer` has it.
        device: where it runs, in torch's words.
        rests: a large one waits in main memory while shots are made.
        known: identity by which the film knows its scorer.

    Returns:
        The scorer, or None for ``none``.

    Raises:
        ModelError: there is no such scorer. Whether its weights are whole is seen when they are read.
    """
    path, source = downloaded(name), provenance(name)
    if name != "hpsv3":
        return load_scorer(name, device=device, path=path)
    from storymem.memory.hpsv3 import Hpsv3Scorer

    def read() -> Hpsv3Scorer:
        loaded = load_scorer(name, device="cpu" if rests else device, path=path, source=source)
        assert isinstance(loaded, Hpsv3Scorer)
        return loaded

    identity, source = _identity(Hpsv3Scorer, path, source, known)
    return DeferredScorer(identity, read, device=device, rests=rests)
