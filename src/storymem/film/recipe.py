"""The recipe of a take: everything that decides what it is. Its digest is the take's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from storymem.film.record import digest_of
from storymem.settings import MemoryConfig, SamplingConfig

__all__ = ["Recipe"]

# How a shot is computed, not what it is: changing it must not make a film stale.
_NOT_IN_KEY = {"batch_cfg"}
# Settings that older films do not know stay out of the key while they have their default, or those would all be stale.
_NEW: Mapping[str, object] = {"memory_guidance_scale": 1.0, "blank": "zeros", "guidance_every": 1}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a take looks like and which of its frames become keyframes.

    Attributes:
        prompt: what the text encoder gets.
        negative_prompt: likewise.
        seed: of the noise.
        sampling: the fields of `SamplingConfig` that change the result.
        model: the maker's identity.
        memory: ids of the keyframes that the shot sees, in order; also what its own keyframes are compared with.
        known_frames: content address (`storymem.memory.bank.frame_id`) of the frames it begins with; None after a cut.
        choosing: how keyframes are chosen: the settings, and the identities of encoder and scorer.
    """

    prompt: str
    negative_prompt: str
    seed: int
    sampling: Mapping[str, int | float | str | None]
    model: str
    memory: tuple[str, ...]
    known_frames: str | None
    choosing: Mapping[str, int | float | str | None]

    @property
    def key(self) -> str:
        """SHA-256 (hexadecimal) of the recipe."""
        return digest_of(asdict(self))

    @staticmethod
    def sampling_of(config: SamplingConfig, *, whole: bool = False) -> dict[str, int | float | str | None]:
        """The part of the settings that belongs to a key.

        Args:
            config: the settings.
            whole: also those that are left out of a key while they have their default.
        """
        return {
            name: value
            for name, value in _plain(config).items()
            if name not in _NOT_IN_KEY and (whole or name not in _NEW or value != _NEW[name])
        }

    @staticmethod
    def choosing_of(
        config: MemoryConfig, *, encoder: str, scorer: str | None, quality_threshold: float | None
    ) -> dict[str, int | float | str | None]:
        """The part of the memory settings that decides which frames of a shot are keyframes.

        Capacity and sink are not: they decide what later shots see, and that is in their keys. Only without any memory
        are no keyframes chosen.
        """
        return {
            "max_keyframes_per_shot": config.max_keyframes_per_shot if config.capacity else 0,
            "similarity_threshold": float(config.similarity_threshold),
            "threshold_step": float(config.threshold_step),
            "quality_threshold": None if quality_threshold is None else float(quality_threshold),
            "encoder": encoder,
            "scorer": scorer,
        }


def _plain(config: SamplingConfig) -> dict[str, Any]:
    """The settings as JSON values; 4 for a float field becomes 4.0, so that both give one key."""
    values = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        values[entry.name] = float(value) if "float" in str(entry.type) and value is not None else value
    return values
