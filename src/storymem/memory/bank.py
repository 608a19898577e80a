"""The memory bank: keyframes as values, and the policy that says which of them stay.

Everything here is immutable. A film is a fold: ``bank = policy.update(bank, keyframes_of_the_shot)``, shot after shot,
so the memory that any shot saw can be computed again at any time from the keyframes alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from storymem.errors import SettingsError
from storymem.settings import MemoryConfig

__all__ = ["FloatArray", "Keyframe", "MemoryBank", "MemoryPolicy", "frame_id"]

FloatArray = npt.NDArray[np.float32]
"""A float32 array. Frames are channels first, ``[3, H, W]`` or ``[F, 3, H, W]``, in [-1, 1]."""

_UNIT_NORM_TOLERANCE = 1e-3  # an embedding that was rounded to a few digits is still one; an unnormalised one is not


def frame_id(pixels: FloatArray) -> str:
    """The content address of a frame.

    Args:
        pixels: one frame, ``[3, H, W]``, float32.

    Returns:
        SHA-256 (hexadecimal) of the shape, as ``"3x480x832:"``, then the little-endian float32 values in C order.
    """
    shape = "x".join(str(size) for size in pixels.shape)
    digest = hashlib.sha256(f"{shape}:".encode())
    digest.update(np.ascontiguousarray(pixels, dtype="<f4").data)
    return digest.hexdigest()


def _frozen(array: npt.ArrayLike) -> FloatArray:
    """A float32 array in C order that cannot be written to and shares no memory with anything that can."""
    given = np.asarray(array)
    if given.dtype == np.float32 and given.flags.c_contiguous and given.flags.owndata and not given.flags.writeable:
        return given
    copy = np.array(given, dtype=np.float32, order="C", copy=True)
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True, eq=False)
class Keyframe:
    """One frame that the bank may remember. Its arrays are private read-only copies.

    Attributes:
        id: content address of the pixels, see `frame_id`; `Keyframe.from_pixels` computes it.
        pixels: ``[3, H, W]``, float32, in [-1, 1], exactly as decoded.
        embedding: ``[D]``, unit norm, by the film's frame encoder.
        quality: the scorer's number, on the scorer's own scale; None when nothing judged the frame.
        shot_id: the shot that it comes from; None for a reference image.
        shot_index: 0-based position of that shot in the film; None for a reference image.
        frame_index: 0-based position of the frame in its shot; None for a reference image.
        label: what people see: a file name, a character's name, or empty.

    Raises:
        ValueError: the shapes are wrong, the embedding is not of unit norm, or only some of the three places are given.
    """

    id: str
    pixels: FloatArray = field(repr=False)
    embedding: FloatArray = field(repr=False)
    quality: float | None = None
    shot_id: str | None = None
    shot_index: int | None = None
    frame_index: int | None = None
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _frozen(self.pixels))
        object.__setattr__(self, "embedding", _frozen(self.embedding))
        if self.pixels.ndim != 3 or self.pixels.shape[0] != 3 or 0 in self.pixels.shape:
            raise ValueError(f"a keyframe's pixels are [3, H, W], not {list(self.pixels.shape)}")
        if self.embedding.ndim != 1 or not abs(float(np.linalg.norm(self.embedding)) - 1) <= _UNIT_NORM_TOLERANCE:
            raise ValueError(f"keyframe {self.id[:12]}: the embedding must be one vector of unit norm")
        places = (self.shot_id is None, self.shot_index is None, self.frame_index is None)
        if any(places) and not all(places):
            raise ValueError(f"keyframe {self.id[:12]}: give shot_id, shot_index and frame_index, or none of them")

    @classmethod
    def from_pixels(
        cls,
        pixels: FloatArray,
        embedding: FloatArray,
        *,
        quality: float | None = None,
        shot_id: str | None = None,
        shot_index: int | None = None,
        frame_index: int | None = None,
        label: str = "",
    ) -> Keyframe:
        """A keyframe with the id that its pixels have; the arguments are those of the class."""
        pixels = _frozen(pixels)
        return cls(frame_id(pixels), pixels, embedding, quality, shot_id, shot_index, frame_index, label)

    @property
    def is_reference(self) -> bool:
        """Whether it is a reference image and not a frame of the film."""
        return self.shot_id is None

    @property
    def order(self) -> tuple[int, int]:
        """Where it stands in time: references first, then by shot and frame."""
        if self.shot_index is None or self.frame_index is None:
            return (-1, 0)
        return (self.shot_index, self.frame_index)

    def _value(self) -> tuple[object, ...]:
        place = (self.shot_id, self.shot_index, self.frame_index)
        return (self.id, *place, self.label, self.quality, self.embedding.tobytes())

    def __eq__(self, other: object) -> bool:
        return self._value() == other._value() if isinstance(other, Keyframe) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass(frozen=True)
class MemoryBank:
    """The keyframes that the next shot sees: references first, then oldest to newest, none of them twice.

    Attributes:
        keyframes: in that order; their sizes may differ.

    Raises:
        ValueError: a keyframe is there twice, or they are out of order.
    """

    keyframes: tuple[Keyframe, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "keyframes", tuple(self.keyframes))
        if len(set(self.ids)) != len(self.keyframes):
            raise ValueError("a memory bank holds no keyframe twice")
        orders = [keyframe.order for keyframe in self.keyframes]
        if orders != sorted(orders):
            raise ValueError("a memory bank is in order of time, references first")

    def __len__(self) -> int:
        return len(self.keyframes)

    def __iter__(self) -> Iterator[Keyframe]:
        return iter(self.keyframes)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keyframes, in order."""
        return tuple(keyframe.id for keyframe in self.keyframes)

    @property
    def frames(self) -> tuple[FloatArray, ...]:
        """The pixels of the keyframes, each ``[3, H, W]``, in order: what a shot is conditioned on."""
        return tuple(keyframe.pixels for keyframe in self.keyframes)

    def embeddings(self, dimension: int) -> FloatArray:
        """The embeddings, ``[len(bank), dimension]``; no rows when the bank is empty.

        Raises:
            SettingsError: a keyframe was encoded by an encoder of another dimension.
        """
        for keyframe in self.keyframes:
            if keyframe.embedding.shape != (dimension,):
                raise SettingsError(
                    f"keyframe {keyframe.label or keyframe.id[:12]} was encoded by another frame encoder "
                    f"({keyframe.embedding.size} numbers, this one gives {dimension}): "
                    "use one encoder for the whole film."
                )
        if not self.keyframes:
            return np.zeros((0, dimension), dtype=np.float32)
        return np.stack([keyframe.embedding for keyframe in self.keyframes])


@dataclass(frozen=True)
class MemoryPolicy:
    """Which keyframes stay: the sink, the pins, and the most recent of the rest.

    With nothing pinned or banned this is the method's policy: when there are more than `capacity`, the first `sink`
    stay for ever and the other places go to the most recent. Reference images come first, so they take the sink's
    places. When pins and sink do not fit together, pins win, then the oldest of the sink.

    Attributes:
        capacity: keyframes in the bank at most; 0 switches memory off.
        sink: how many of the first keyframes stay.
        pinned: ids that always stay once they are in the bank, `forget` included.
        banned: ids that never enter, and leave at the next update if they are there.

    Raises:
        SettingsError: negative numbers, sink above capacity, more pins than places, or an id both pinned and banned.
    """

    capacity: int = 10
    sink: int = 3
    pinned: frozenset[str] = frozenset()
    banned: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        MemoryConfig(capacity=self.capacity, sink=self.sink)  # the one home of the rules for these two numbers
        object.__setattr__(self, "pinned", frozenset(self.pinned))
        object.__setattr__(self, "banned", frozenset(self.banned))
        if len(self.pinned) > self.capacity:
            raise SettingsError(
                f"{len(self.pinned)} keyframes are pinned and the memory has {self.capacity} places: "
                "unpin some or raise the memory capacity."
            )
        if both := self.pinned & self.banned:
            raise SettingsError(f"keyframe {min(both)[:12]} is both pinned and banned: choose one.")

    @classmethod
    def from_config(
        cls, config: MemoryConfig, *, pinned: Iterable[str] = (), banned: Iterable[str] = ()
    ) -> MemoryPolicy:
        """The policy of a film's settings, with the film's pinned and banned keyframes."""
        return cls(config.capacity, config.sink, frozenset(pinned), frozenset(banned))

    def start(self, references: Sequence[Keyframe] = ()) -> MemoryBank:
        """The bank before the first shot: the reference images, in the order given, those given twice once.

        Raises:
            SettingsError: there are more references than places.
            ValueError: one of them is a frame of the film and no reference.
        """
        if any(not keyframe.is_reference for keyframe in references):
            raise ValueError("a film's memory starts with reference images, not with frames of the film")
        wanted = {keyframe.id for keyframe in references} - self.banned
        if self.capacity and len(wanted) > self.capacity:
            raise SettingsError(
                f"{len(wanted)} reference images are given and the memory has {self.capacity} places: "
                "give fewer or raise the memory capacity."
            )
        return self.update(MemoryBank(), references)

    def update(self, bank: MemoryBank, keyframes: Sequence[Keyframe]) -> MemoryBank:
        """The bank after a shot.

        Args:
            bank: the bank that the shot saw.
            keyframes: the shot's keyframes, in order of time; one whose id is already in the bank is left out.

        Returns:
            A new bank, of at most `capacity` keyframes.

        Raises:
            ValueError: a new keyframe is older than one in the bank.
        """
        candidates: dict[str, Keyframe] = {}
        for keyframe in (*bank.keyframes, *keyframes):
            if keyframe.id not in self.banned:
                candidates.setdefault(keyframe.id, keyframe)
        ordered = MemoryBank(tuple(candidates.values()))  # checks the order, of those about to be dropped too
        if len(ordered) <= self.capacity:
            return ordered
        stays: set[str] = set()
        pins = (id_ for id_ in ordered.ids if id_ in self.pinned)
        sink = ordered.ids[: self.sink]
        for id_ in (*pins, *sink, *reversed(ordered.ids)):
            if len(stays) == self.capacity:
                break
            stays.add(id_)
        return MemoryBank(tuple(keyframe for keyframe in ordered if keyframe.id in stays))

    def forget(self, bank: MemoryBank) -> MemoryBank:
        """The bank after a cut that leaves what was made behind: only its references and pins are left.

        The keyframes that come next fill the free places of the sink.
        """
        kept = (k for k in bank if (k.is_reference or k.id in self.pinned) and k.id not in self.banned)
        return MemoryBank(tuple(kept))

    def view(self, bank: MemoryBank, shot_index: int) -> tuple[Keyframe, ...]:
        """What the shot at this 0-based position of the film sees: the bank, once, oldest first.

        Raises:
            ValueError: the bank has a keyframe of this shot or of a later one, so it is not this shot's memory.
        """
        if any(keyframe.order >= (shot_index, 0) for keyframe in bank):
            raise ValueError(f"the memory of shot {shot_index} holds a keyframe of that shot or of a later one")
        return bank.keyframes
