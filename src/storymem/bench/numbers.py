"""All numbers of one film: what is known of it and the features of its shots in, named metrics out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from storymem.bench import metrics
from storymem.bench.features import ShotFeatures
from storymem.bench.readers import ShotSeen

__all__ = ["METRICS", "FilmFacts", "Metric", "film_numbers", "shot_numbers", "shot_worth", "similarity_matrix"]

Array = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a film.

    Attributes:
        key: its name in files.
        title: its name for people.
        better: which way is good; "neither" is for numbers that only say what happens.
        says: what it says, in one sentence.
        measured_by: what its value depends on: the video encoder, the judge of beauty, the reader of attributes, or
            pixels alone.
    """

    key: str
    title: str
    better: Literal["higher", "neither"]
    says: str
    measured_by: Literal["encoder", "text", "judge", "reader", "pixels"]


METRICS: tuple[Metric, ...] = (
    Metric(
        "consistency_all", "Consistency, all pairs", "higher", "How alike any two shots of the film are.", "encoder"
    ),
    Metric(
        "consistency_top10",
        "Consistency, top 10",
        "higher",
        "How alike the ten pairs of shots are whose prompts are most alike.",
        "encoder",
    ),
    Metric("within_scene", "Within a scene", "higher", "How alike two shots of one scene are.", "encoder"),
    Metric("across_scenes", "Across scenes", "higher", "How alike two shots of different scenes are.", "encoder"),
    Metric(
        "character_consistency",
        "Shots of one character",
        "higher",
        "How alike shots that show the same character are, as whole pictures.",
        "encoder",
    ),
    Metric(
        "end_similarity",
        "Kept to the end",
        "higher",
        "How alike the first and the last third of the film are.",
        "encoder",
    ),
    Metric("identity", "Identity", "higher", "Share of the characters' visible attributes that are right.", "reader"),
    Metric(
        "identity_untold",
        "Identity, untold",
        "higher",
        "The same for attributes that the prompt does not tell: only memory can know them.",
        "reader",
    ),
    Metric(
        "setting",
        "Setting",
        "higher",
        "Share of what the prompts ask for beside characters (place, time, weather ...) that is right.",
        "reader",
    ),
    Metric("prompt_film", "Prompt, whole film", "higher", "How well the film fits the story's overview.", "text"),
    Metric("prompt_shot", "Prompt, per shot", "higher", "How well the shots fit their prompts.", "text"),
    Metric("aesthetic", "Aesthetic", "higher", "How beautiful frames are.", "judge"),
    Metric(
        "worth", "Clean pictures", "higher", "How free of noise, blur and flatness frames are; not beauty.", "pixels"
    ),
    Metric("joins", "Joins", "higher", "How smoothly shots without a cut continue the one before.", "pixels"),
    Metric(
        "diversity", "Diversity", "higher", "How little shots repeat one another; a copied memory has none.", "pixels"
    ),
    Metric("balance", "Balance", "higher", "Consistency (all pairs), less what is bought with copies.", "encoder"),
    Metric("drift", "Drift", "neither", "How much less alike the ends of the film are than neighbours.", "encoder"),
    Metric(
        "consistency_all_plain",
        "Consistency, all pairs, plain",
        "neither",
        "Mean cosine, unweighted, as papers report it; noise can win it.",
        "encoder",
    ),
    Metric(
        "consistency_top10_plain",
        "Consistency, top 10, plain",
        "neither",
        "The same over the ten pairs whose prompts are most alike.",
        "encoder",
    ),
)


@dataclass(frozen=True)
class FilmFacts:
    """What is known of a film apart from its pictures, one entry per shot.

    Attributes:
        prompts: as given to the system; None: unknown (real footage).
        scenes: the scene of each shot.
        cuts: False where a shot continues the one before.
        shown: names of the characters in each shot.
        overview: of the story; may be empty.
        truth: per shot, see `AttributeReader`; from suites that have ground truth.
        scenes_known: False if `scenes` says nothing, as of clips without a script.
    """

    prompts: tuple[str, ...] | None
    scenes: tuple[int, ...]
    cuts: tuple[bool, ...]
    shown: tuple[tuple[str, ...], ...]
    overview: str = ""
    truth: tuple[Mapping[str, Any], ...] | None = None
    scenes_known: bool = True


def film_numbers(
    shots: Sequence[ShotFeatures],
    facts: FilmFacts,
    *,
    prompt_similarity: Array | None = None,
    prompt_shots: Array | None = None,
    prompt_film: float | None = None,
    readings: Sequence[ShotSeen] | None = None,
) -> dict[str, float | None]:
    """Every metric of `METRICS` for one film; None where it cannot be measured.

    Args:
        shots: features, in order.
        facts: as many shots.
        prompt_similarity: ``[S, S]``; None: the prompts are unknown.
        prompt_shots: cosine of each shot with its prompt; None: not measured.
        prompt_film: cosine of the film with its overview; None: not measured.
        readings: what a reader saw in each shot; None: not read.
    """
    worth = shot_worth(shots)
    similarity = similarity_matrix(shots, worth)
    plain = similarity_matrix(shots, None)
    joined = [(i - 1, i) for i, cut in enumerate(facts.cuts) if i and not cut]
    likeness = metrics.pixel_likeness(np.stack([shot.small for shot in shots]))
    variety = metrics.diversity(likeness, worth, joined)
    overall = metrics.consistency_all(similarity)
    joins = [
        metrics.join_smoothness(shots[i].last, shots[j].first, float(np.sqrt(worth[i] * worth[j]))) for i, j in joined
    ]
    beauty = [float(shot.beauty.mean()) for shot in shots if shot.beauty.size]
    read = {} if facts.truth is None or readings is None else _agreements(facts.truth, readings)
    known = prompt_similarity is not None
    return {
        "consistency_all": overall,
        "consistency_top10": metrics.consistency_top(similarity, _given(prompt_similarity)) if known else None,
        "within_scene": metrics.within_scene(similarity, facts.scenes) if facts.scenes_known else None,
        "across_scenes": metrics.across_scenes(similarity, facts.scenes) if facts.scenes_known else None,
        "character_consistency": metrics.character_consistency(similarity, facts.shown),
        "end_similarity": metrics.end_similarity(similarity),
        "identity": read.get("identity"),
        "identity_untold": read.get("identity_untold"),
        "setting": read.get("setting"),
        "prompt_film": prompt_film,
        "prompt_shot": None if prompt_shots is None else float(np.mean(prompt_shots)),
        "aesthetic": float(np.mean(beauty)) if beauty else None,
        "worth": float(worth.mean()),
        "joins": float(np.mean(joins)) if joins else None,
        "diversity": variety,
        "balance": metrics.balance(overall, variety),
        "drift": metrics.drift(similarity),
        "consistency_all_plain": metrics.consistency_all(plain),
        "consistency_top10_plain": metrics.consistency_top(plain, _given(prompt_similarity)) if known else None,
    }


def shot_worth(shots: Sequence[ShotFeatures]) -> Array:
    """``[S]``: the mean worth of each shot's sampled frames."""
    return np.array([float(shot.worth.mean()) for shot in shots])


def similarity_matrix(shots: Sequence[ShotFeatures], worth: Array | None) -> Array:
    """``[S, S]``, see `metrics.shot_similarities`."""
    return metrics.shot_similarities(np.stack([shot.embedding for shot in shots]), worth)


def shot_numbers(shots: Sequence[ShotFeatures], prompt_shots: Array | None) -> list[dict[str, float | None]]:
    """What is measured of each shot alone."""
    return [
        {
            "worth": float(shot.worth.mean()),
            "aesthetic": float(shot.beauty.mean()) if shot.beauty.size else None,
            "prompt": None if prompt_shots is None else float(prompt_shots[index]),
        }
        for index, shot in enumerate(shots)
    ]


def _given(value: Array | None) -> Array:
    assert value is not None
    return value


def _agreements(truth: Sequence[Mapping[str, Any]], readings: Sequence[ShotSeen]) -> dict[str, float | None]:
    """Agreement over the attributes that can be seen, over those that the prompt does not tell, and over settings."""
    characters = [one for shot in truth for one in shot["characters"]]
    seen = [one for reading in readings for one in reading.characters]
    expected = [one["attributes"] for one in characters]
    visible = [one["visible"] for one in characters]
    untold = [[name for name in one["visible"] if name not in one["told"]] for one in characters]
    return {
        "identity": metrics.attribute_agreement(expected, seen, visible),
        "identity_untold": metrics.attribute_agreement(expected, seen, untold),
        "setting": metrics.attribute_agreement(
            [shot["setting"] for shot in truth], [reading.setting for reading in readings]
        ),
    }
