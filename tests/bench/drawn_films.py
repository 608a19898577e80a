"""Films of Storyland with fixed seeds: multi-shot pictures that share heroes and places, and ways to spoil them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from storymem.bench.encoders import BuiltinVideoEncoder
from storymem.bench.features import ShotFeatures, shot_features
from storymem.bench.metrics import word_similarities
from storymem.bench.numbers import FilmFacts, film_numbers
from storymem.media import Uint8Array, to_uint8
from storymem.worlds.storyland import render, sample_story

Shots = tuple[Uint8Array, ...]  # [F, H, W, 3] each
SEEDS = tuple(range(6))


@dataclass(frozen=True)
class DrawnFilm:
    """A film and what is known of it."""

    shots: Shots
    facts: FilmFacts

    def with_shots(self, shots: Shots) -> DrawnFilm:
        return replace(self, shots=shots)

    def changed(self, change: Callable[[int, Uint8Array], Uint8Array]) -> DrawnFilm:
        return self.with_shots(tuple(change(i, shot) for i, shot in enumerate(self.shots)))

    def numbers(self) -> dict[str, float]:
        shots = [_features(shot.tobytes(), shot.shape) for shot in self.shots]
        words = word_similarities(self.facts.prompts)
        result = film_numbers(shots, self.facts, prompt_similarity=words)
        return {key: value for key, value in result.items() if value is not None}


@cache
def _features(pixels: bytes, shape: tuple[int, ...]) -> ShotFeatures:
    shot = np.frombuffer(pixels, np.uint8).reshape(shape)
    return shot_features(list(shot), BuiltinVideoEncoder(), None)


@cache
def film(seed: int, shots: int = 7) -> DrawnFilm:
    """A film of a story by lot; some shots go on without a cut."""
    story = sample_story(seed, shots=shots, heroes=1 + seed % 2, continued=0.5)
    pixels = to_uint8(render([shot.spec for shot in story.shots], 17).numpy().transpose(0, 2, 1, 3, 4))
    # A shot that continues another begins with its last frame.
    pictures = tuple(p if shot.cut else p[1:] for p, shot in zip(pixels, story.shots, strict=True))
    facts = FilmFacts(
        prompts=tuple(shot.prompt for shot in story.shots),
        scenes=tuple(shot.scene for shot in story.shots),
        cuts=tuple(shot.cut for shot in story.shots),
        shown=tuple(tuple(actor.name for actor in shot.spec.actors) for shot in story.shots),
        overview=story.overview,
    )
    return DrawnFilm(pictures, facts)


def shuffled(seed: int) -> DrawnFilm:
    """The film's script, with a shot of another film in every place."""
    others = [film((seed + 1 + i) % len(SEEDS) if (seed + 1 + i) % len(SEEDS) != seed else 99) for i in range(7)]
    return film(seed).with_shots(tuple(other.shots[i] for i, other in enumerate(others)))


def frozen(of: DrawnFilm) -> DrawnFilm:
    """One frame for ever."""
    return of.changed(lambda _, shot: np.repeat(of.shots[0][8:9], len(shot), axis=0))


def noise(of: DrawnFilm) -> DrawnFilm:
    """Nothing but noise."""
    rng = np.random.default_rng(0)
    return of.changed(lambda _, shot: rng.integers(0, 256, shot.shape, dtype=np.uint8))


def mean_numbers(films: list[DrawnFilm]) -> Mapping[str, float]:
    """The mean over films of every number that any of them has."""
    found: dict[str, list[float]] = {}
    for one in films:
        for key, value in one.numbers().items():
            found.setdefault(key, []).append(value)
    return {key: float(np.mean(values)) for key, values in found.items()}
