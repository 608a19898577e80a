"""Clips as the denoising stages need them: latents of the clip, of its conditions and of its keyframes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from storymem.conditioning.codec import blank_frame
from storymem.errors import CheckpointError, SettingsError
from storymem.settings import Blank
from storymem.training.augment import augment
from storymem.training.clips import ClipSource
from storymem.training.seeding import generator
from storymem.training.subjects import LatentSubjects, latent_coverage

if TYPE_CHECKING:
    from storymem.conditioning.codec import LatentCodec
    from storymem.training.clips import Clip
    from storymem.training.sections import AugmentSection

__all__ = [
    "CachedLoader",
    "CaptionedSource",
    "EncodedClip",
    "FiledClip",
    "GroupLoader",
    "ResidentClip",
    "SourceLoader",
    "weights_digest",
]

_PIXELS_AT_ONCE = 2**24  # half a 480p clip of 81 frames; a batch of small ones


class EncodedClip(Protocol):
    """One clip in latents; all tensors normalised, of one dtype."""

    @property
    def latents(self) -> torch.Tensor:
        """``[z, F_lat, h, w]``."""

    @property
    def keyframes(self) -> torch.Tensor:
        """``[K, 1 + V, z, h, w]``: K of its frames, each encoded alone, clean and in V augmented versions."""

    @property
    def captions(self) -> tuple[str, ...]:
        """Texts that describe it."""

    @property
    def subjects(self) -> LatentSubjects | None:
        """Who or what it shows; None: not known."""

    def known(self, count: int) -> torch.Tensor:
        """``[z, F_lat, h, w]``: its first `count` frames followed by blank ones, encoded."""


@dataclass(frozen=True, slots=True, eq=False)
class ResidentClip:
    """An `EncodedClip` in memory."""

    latents: torch.Tensor
    conditions: Mapping[int, torch.Tensor]
    keyframes: torch.Tensor
    captions: tuple[str, ...]
    subjects: LatentSubjects | None = None

    def known(self, count: int) -> torch.Tensor:
        """See `EncodedClip`."""
        return self.conditions[count]


class CaptionedSource(ClipSource, Protocol):
    """A source that knows names and captions of its clips without drawing or reading them."""

    def group_ids(self, index: int) -> Sequence[str]:
        """A name for each clip of a group, fit for file names, that stays when groups change."""

    def captions_of(self, index: int) -> Sequence[tuple[str, ...]]:
        """Captions of each clip of a group."""


class GroupLoader(Protocol):
    """Gives the encoded clips of a group."""

    @property
    def blank(self) -> torch.Tensor:
        """``[z, F_lat, h, w]``: the condition of a clip of which nothing is known."""

    def __len__(self) -> int:
        """Groups there are."""

    def size(self, index: int) -> int:
        """Clips of a group."""

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """See `ClipSource.subjects`."""

    def load(self, index: int) -> tuple[EncodedClip, ...]:
        """The clips of a group."""


class SourceLoader:
    """Encodes the clips of a source.

    Args:
        source: the clips.
        codec: the VAE.
        seed: chooses keyframes and their augmentation.
        known: numbers of known first frames that are needed.
        keyframes: K.
        variants: V.
        config: how memory frames are augmented.
        empty: what stands for frames that are not known; see `SamplingConfig`.
        device: where encoded clips are kept.
        dtype: of encoded clips.
    """

    def __init__(
        self,
        source: ClipSource,
        codec: LatentCodec,
        *,
        seed: int,
        known: Sequence[int],
        keyframes: int,
        variants: int,
        config: AugmentSection,
        empty: Blank = "zeros",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.source = source
        self.codec = codec
        self.seed = seed
        self.known = tuple(known)
        self.keyframes = keyframes
        self.variants = variants
        self.config = config
        self.empty = empty
        self.device = device
        self.dtype = dtype
        self._blank: torch.Tensor | None = None

    @property
    def blank(self) -> torch.Tensor:
        """See `GroupLoader.blank`."""
        if self._blank is None:
            frames = self.source.group(0)[0].frames
            num_frames, height, width = frames.shape[1:]
            latents = self.codec.encode_known(None, num_frames, height, width, blank=self.empty)
            self._blank = latents[0].to(self.device, self.dtype)
        return self._blank

    def __len__(self) -> int:
        return len(self.source)

    def size(self, index: int) -> int:
        """See `GroupLoader.size`."""
        return self.source.size(index)

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """See `GroupLoader.subjects`."""
        return self.source.subjects(index, clip)

    def load(self, index: int) -> tuple[ResidentClip, ...]:
        """See `GroupLoader.load`."""
        group = self.source.group(index)
        encoded: list[ResidentClip] = []
        while len(encoded) < len(group):  # a group of real footage is many gigabytes
            start = len(encoded)
            some = [group[start]]
            some += [group[i] for i in range(start + 1, min(len(group), start + _at_once(some[0].frames)))]
            encoded += self._encoded(some, index, start)
        return tuple(encoded)

    def _encoded(self, clips: Sequence[Clip], index: int, start: int) -> list[ResidentClip]:
        """Clips of group `index`, of which the first is number `start`."""
        frames = torch.stack([clip.frames for clip in clips])  # [N, 3, F, H, W]
        latents = self._encode(frames)
        known = {}
        for count in self.known:
            given = frames.clone()
            given[:, :, count:] = blank_frame(self.empty, *frames.shape[3:])[:, None]
            known[count] = self._encode(given)
        chosen = [self._keyframes(clip, index, number) for number, clip in enumerate(clips, start)]
        pictures = torch.stack([picture for _, versions in chosen for picture in versions])
        keyframes = self._encode(pictures[:, :, None])[:, :, 0]
        keyframes = keyframes.view(len(clips), self.keyframes, 1 + self.variants, *keyframes.shape[1:])
        return [
            ResidentClip(
                latents[n],
                {k: part[n] for k, part in known.items()},
                keyframes[n],
                clip.captions,
                self._subjects(clip, chosen[n][0]),
            )
            for n, clip in enumerate(clips)
        ]

    def _subjects(self, clip: Clip, positions: Sequence[int]) -> LatentSubjects | None:
        if clip.subjects is None:
            return None
        masks, spatial = clip.subjects.masks, self.codec.spatial_factor
        covered = latent_coverage(masks, self.codec.temporal_factor, spatial)
        keyframes = torch.stack([latent_coverage(masks[:, [i]], 1, spatial)[:, 0] for i in positions])
        place: tuple[Any, ...] = (self.device, self.dtype)
        labels, shown = clip.subjects.labels, clip.subjects.shown
        if shown is None:
            shown = torch.ones_like(labels, dtype=torch.bool)
        return LatentSubjects(covered.to(*place), keyframes.to(*place), labels.to(self.device), shown.to(self.device))

    def _keyframes(self, clip: Clip, index: int, number: int) -> tuple[list[int], list[torch.Tensor]]:
        """Positions of K frames of a clip in order, and each of them clean and in V versions."""
        rng = generator(self.seed, "keyframes", index, number)
        count = clip.frames.shape[1]
        if count < self.keyframes:
            raise SettingsError(
                f"data.keyframes_per_clip is {self.keyframes}, but a clip has {count} frames: lower the one or "
                "raise the other."
            )
        out = []
        positions = sorted(rng.choice(count, size=self.keyframes, replace=False).tolist())
        for position in positions:
            frame = clip.frames[:, position]
            out.append(frame)
            out += [augment(frame, self.config, rng) for _ in range(self.variants)]
        return positions, out

    def _encode(self, frames: torch.Tensor) -> torch.Tensor:
        some = torch.split(frames, _at_once(frames[0]))
        return torch.cat([self.codec.encode(part).to(self.device, self.dtype) for part in some])


def _at_once(frames: torch.Tensor) -> int:
    """How many clips like this one, ``[3, F, H, W]``, go through the VAE together."""
    return max(1, _PIXELS_AT_ONCE // frames[0].numel())


class CachedLoader:
    """Encodes the clips of a source once, to files, and reads what a batch needs; captions stay the source's.

    Args:
        loader: encodes what is not there yet.
        source: the loader's source, which knows its captions without reading video.
        folder: for the files; its name should tell the VAE and everything else that their content depends on.
    """

    def __init__(self, loader: SourceLoader, source: CaptionedSource, folder: Path) -> None:
        self.loader = loader
        self.source = source
        self.folder = folder
        self._blank: torch.Tensor | None = None

    @property
    def blank(self) -> torch.Tensor:
        """See `GroupLoader.blank`."""
        if self._blank is None:
            path = self.folder / "blank.safetensors"
            if not path.is_file():
                self._save(path, {"blank": self.loader.blank})
            self._blank = FiledTensors(path)["blank"]
        return self._blank

    def __len__(self) -> int:
        return len(self.loader)

    def size(self, index: int) -> int:
        """See `GroupLoader.size`."""
        return self.loader.size(index)

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """See `GroupLoader.subjects`."""
        return self.loader.subjects(index, clip)

    def is_cached(self, index: int) -> bool:
        """Whether the files of a group are there."""
        return all(path.is_file() for path in self._paths(index))

    def count_missing(self) -> int:
        """How many groups' files are not there, or not all."""
        return sum(not self.is_cached(index) for index in range(len(self)))

    def load(self, index: int) -> tuple[EncodedClip, ...]:
        """See `GroupLoader.load`; tensors are read when they are looked at."""
        paths = self._paths(index)
        if not self.is_cached(index):
            for path, clip in zip(paths, self.loader.load(index), strict=True):
                tensors = {"latents": clip.latents, "keyframes": clip.keyframes}
                self._save(path, tensors | {f"known_{count}": part for count, part in clip.conditions.items()})
        return tuple(
            FiledClip(FiledTensors(path), captions)
            for path, captions in zip(paths, self.source.captions_of(index), strict=True)
        )

    def _paths(self, index: int) -> list[Path]:
        return [self.folder / f"{name}.safetensors" for name in self.source.group_ids(index)]

    @staticmethod
    def _save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        from safetensors.torch import save

        from storymem.film.storage import make_folder, replace_file

        make_folder(path.parent)
        replace_file(path, save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))


class FiledTensors:
    """Tensors of a safetensors file, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> torch.Tensor:
        """The tensor of that name.

        Raises:
            CheckpointError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                tensor: torch.Tensor = file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{self.path}: cannot be read ({error}); remove it and it will be made again."
            ) from error
        return tensor


class FiledClip:
    """An `EncodedClip` whose tensors lie in a file until they are looked at; of footage no subjects are known."""

    subjects = None

    def __init__(self, tensors: FiledTensors, captions: tuple[str, ...]) -> None:
        self.captions = captions
        self._tensors = tensors

    @property
    def latents(self) -> torch.Tensor:
        """See `EncodedClip`."""
        return self._tensors["latents"]

    @property
    def keyframes(self) -> torch.Tensor:
        """See `EncodedClip`."""
        return self._tensors["keyframes"]

    def known(self, count: int) -> torch.Tensor:
        """See `EncodedClip`."""
        return self._tensors[f"known_{count}"]


def weights_digest(module: torch.nn.Module) -> str:
    """A short name for a model's weights: changes if they do (names, shapes and up to 4096 values of each tensor)."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().flatten()
        some = flat[:: max(1, flat.numel() // 4096)].float().cpu().numpy()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(some.tobytes())
    return digest.hexdigest()[:16]
