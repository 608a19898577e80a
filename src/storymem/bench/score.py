"""Scoring a folder of films: every number of every film, with what it was measured by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from storymem.bench import metrics
from storymem.bench.encoders import SAMPLING, FrameJudge, VideoEncoder
from storymem.bench.features import FEATURES, ShotFeatures, cached_features, embed_film
from storymem.bench.films import CACHE, BenchFilm, ShotFile, find_films, open_film
from storymem.bench.numbers import METRICS, film_numbers, shot_numbers, shot_worth, similarity_matrix
from storymem.bench.readers import AttributeReader, cached_reading
from storymem.bench.worth import WORTH
from storymem.errors import FilmError, InputError, MediaError, SettingsError
from storymem.film.storage import replace_file

__all__ = ["SCORES", "Instruments", "film_features", "read_scores", "score_folder"]

SCORES = "scores.json"
_FORMAT = "storymem bench scores"
_VERSION = 1


@dataclass(frozen=True)
class Instruments:
    """What films are measured with.

    Attributes:
        encoder: of shots.
        judge: of beauty; None: not measured.
        reader: of attributes, for films with ground truth; None: not measured.
    """

    encoder: VideoEncoder
    judge: FrameJudge | None = None
    reader: AttributeReader | None = None

    @property
    def prompt_likeness(self) -> str:
        """By what it is decided which prompts are most alike."""
        return self.encoder.identity if self.encoder.knows_text else "words-tfidf-1"

    def facts(self) -> dict[str, Any]:
        """Names, identities and versions, which go with every number."""
        from importlib.metadata import version

        def named(one: VideoEncoder | FrameJudge | AttributeReader | None) -> dict[str, str] | None:
            return None if one is None else {"name": one.name, "identity": one.identity}

        return {
            "storymem": version("storymem"),
            "encoder": named(self.encoder),
            "text": named(self.encoder) if self.encoder.knows_text else None,
            "judge": named(self.judge),
            "reader": named(self.reader),
            "reader_accuracy": {} if self.reader is None else dict(self.reader.accuracy),
            "prompt_likeness": self.prompt_likeness,
            "frames": SAMPLING,
            "features": FEATURES,
            "pixels": {"name": "pixels", "identity": f"{FEATURES}, {WORTH}"},
        }


OnFilm = Callable[[str, str, Mapping[str, float | None] | None], None]
"""Told of each film: system, story, and its numbers, or None if it was left out."""


def score_folder(
    folder: Path, instruments: Instruments, *, processes: int = 1, on_film: OnFilm | None = None
) -> dict[str, Any]:
    """Score every film in a folder, and write ``scores.json`` there.

    Shots are looked at once: what is needed of them is kept in ``.cache`` by content, so that a second run, or one with
    another film added, costs little. A film that cannot be scored (it is not finished, say) is left out, with the
    reason.

    Args:
        folder: see `storymem.bench.films`.
        instruments: what to measure with.
        processes: how many look at shots side by side; more than one only with the built-in encoder.
        on_film: told of each film.

    Returns:
        what is in ``scores.json``.

    Raises:
        FilmError: there are no films.
        StorageError: the system refused a write.
    """
    if processes > 1 and (instruments.encoder.name != "builtin" or instruments.judge is not None):
        raise SettingsError("several processes would each load the weights of the encoder: use one process.")
    cache = folder / CACHE
    films: list[BenchFilm] = []
    left_out = []
    for system, story, place in find_films(folder):
        try:
            films.append(open_film(folder, system, story, place))
        except InputError as error:
            left_out.append({"system": system, "story": story, "reason": str(error)})
            if on_film is not None:
                on_film(system, story, None)
    if processes > 1:
        _look(films, instruments.encoder, cache, processes)
    systems: dict[str, dict[str, Any]] = {}
    for system, theirs in groupby(films, key=lambda film: film.system):
        for film in theirs:
            try:
                scored = _score(film, instruments, cache)
            except MediaError as error:
                left_out.append({"system": system, "story": film.story, "reason": str(error)})
                scored = None
            else:
                systems.setdefault(system, {})[film.story] = scored
            if on_film is not None:
                on_film(system, film.story, None if scored is None else scored["numbers"])
    result = {
        "format": _FORMAT,
        "version": _VERSION,
        "instruments": instruments.facts(),
        "metrics": [asdict(metric) for metric in METRICS],
        "systems": systems,
        "left_out": left_out,
    }
    replace_file(folder / SCORES, json.dumps(result, indent=1).encode())
    return result


def read_scores(folder: Path) -> dict[str, Any]:
    """What `score_folder` wrote.

    Raises:
        FilmError: it has not been scored, or the file is none of ours.
    """
    path = folder / SCORES
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
        if scores["format"] != _FORMAT or scores["version"] != _VERSION:
            raise ValueError("another format")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FilmError(f"{path}: cannot be read ({error}): run `storymem bench score {folder}` first.") from error
    return dict(scores)


def _look(films: Sequence[BenchFilm], encoder: VideoEncoder, cache: Path, processes: int) -> None:
    """Fill the cache, side by side; what cannot be read is met again, and told, when the film is scored."""
    from multiprocessing import get_context

    files = [shot for film in films for shot in film.shots]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(partial(_look_at, encoder=encoder, cache=cache), files, chunksize=4):
            pass


def _look_at(file: ShotFile, encoder: VideoEncoder, cache: Path) -> None:
    try:
        cached_features(file.path, file.drop, encoder, None, cache)
    except MediaError:
        return


def _score(film: BenchFilm, instruments: Instruments, cache: Path) -> dict[str, Any]:
    encoder, facts = instruments.encoder, film.facts
    shots = film_features(film, instruments, cache)
    likeness = prompt_shots = prompt_film = readings = None
    if facts.prompts is not None:
        if encoder.knows_text:
            texts = encoder.encode_texts(facts.prompts)
            likeness = metrics.shot_similarities(texts)
            prompt_shots = metrics.prompt_following(np.stack([shot.embedding for shot in shots]), texts)
            if facts.overview:
                whole = embed_film([(shot.path, shot.drop) for shot in film.shots], encoder, cache)
                overview = encoder.encode_texts([facts.overview])
                prompt_film = float(metrics.prompt_following(whole[None], overview)[0])
        else:
            likeness = metrics.word_similarities(facts.prompts)
    if facts.truth is not None and instruments.reader is not None:
        readings = [
            cached_reading(shot.path, shot.drop, truth, instruments.reader, cache)
            for shot, truth in zip(film.shots, facts.truth, strict=True)
        ]
    similarity = similarity_matrix(shots, shot_worth(shots))
    return {
        "numbers": film_numbers(
            shots,
            facts,
            prompt_similarity=likeness,
            prompt_shots=prompt_shots,
            prompt_film=prompt_film,
            readings=readings,
        ),
        "shots": [
            {"scene": scene, "cut": cut, **numbers}
            for scene, cut, numbers in zip(facts.scenes, facts.cuts, shot_numbers(shots, prompt_shots), strict=True)
        ],
        "similarity": np.round(similarity, 4).tolist(),
        "by_distance": [round(value, 4) for value in metrics.similarity_by_distance(similarity)],
    }


def film_features(film: BenchFilm, instruments: Instruments, cache: Path) -> list[ShotFeatures]:
    """The features of a film's shots, from the cache where they are."""
    return [cached_features(shot.path, shot.drop, instruments.encoder, instruments.judge, cache) for shot in film.shots]
