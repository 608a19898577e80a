from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import max_pool2d

from storymem.worlds.storyland import Actor, Hero, Place, ShotSpec, ground_truth, render, sample_shot
from storymem.worlds.storyland.truth import hero_subjects

HERO = Hero("owl", "tall", "purple", "spotted", "crown", "yellow", None, None, "bag", "red")


def test_the_truth_is_what_the_spec_says() -> None:
    other = Hero("pig", "round", "pink", "plain")
    spec = ShotSpec(
        (Actor(HERO, "Pip", "wave", -0.36, 1), Actor(other, "Momo", "sit", 0.36, -1)),
        Place("harbour", 12),
        "evening",
        "rainy",
        "wide",
        "pan left",
    )
    truth = ground_truth(spec, 5)
    setting = [truth[key] for key in ("place", "layout", "time", "weather", "shot_type", "camera")]
    assert setting == ["harbour", 12, "evening", "rainy", "wide", "pan left"]
    left, right = truth["heroes"]
    assert (left["name"], left["action"], left["side"], left["facing"]) == ("Pip", "wave", "left", "right")
    assert (right["name"], right["action"], right["side"], right["facing"]) == ("Momo", "sit", "right", "left")
    assert left["attributes"] == HERO.attributes()
    assert left["boxes"][0][2] < right["boxes"][0][0] + 8  # from left to right
    assert right["visible"] == list(HERO.attributes())


def test_a_close_up_does_not_show_the_bag() -> None:
    spec = ShotSpec((Actor(HERO, "Pip", "stand"),), Place("library", 2), shot_type="close-up")
    close = ground_truth(spec)["heroes"][0]["visible"]
    assert "hat" in close
    assert "colour" in close
    assert "accessory" not in close
    assert "accessory_colour" not in close


@pytest.mark.parametrize("kind", ["kitchen", "cave"])
def test_there_is_no_weather_indoors_and_no_time_in_the_cave(kind: str) -> None:
    truth = ground_truth(ShotSpec((Actor(HERO, "Pip"),), Place(kind, 2)), 3)
    assert truth["weather"] is None
    assert (truth["time"] is None) == (kind == "cave")


def test_the_truth_of_any_shot_is_json_and_its_boxes_lie_in_the_picture() -> None:
    for seed in range(60):
        truth = json.loads(json.dumps(ground_truth(sample_shot(seed), 5, 64, 112)))
        for hero in truth["heroes"]:
            assert len(hero["boxes"]) == len(hero["head_boxes"]) == 5
            for box in filter(None, hero["boxes"] + hero["head_boxes"]):
                assert 0 <= box[0] < box[2] <= 112
                assert 0 <= box[1] < box[3] <= 64


def test_masks_cover_heroes_and_little_else() -> None:
    """A picture changes inside the mask, and nowhere else, when a hero puts on other colours."""
    for seed in range(12):
        spec = sample_shot(seed)
        other = tuple(replace(actor, hero=replace(actor.hero, colour=_other(actor.hero))) for actor in spec.actors)
        pictures = render([spec, replace(spec, actors=other)], 3, 64, 112)
        changed = (pictures[0] - pictures[1]).abs().amax(0).numpy() > 1e-3  # [F, H, W]
        each = hero_subjects(spec, 3, 64, 112).masks
        assert each.shape == (len(spec.actors), 3, 64, 112)
        masks = each.max(0)
        assert masks.min() >= 0
        assert masks.max() <= 1
        assert changed.any()
        near = max_pool2d(torch.from_numpy(masks), 5, stride=1, padding=2).numpy()  # sprites are drawn with soft edges
        assert not (changed & (near == 0)).any()
        for mask, hero in zip(each, ground_truth(spec, 3, 64, 112)["heroes"], strict=True):
            x0, y0, x1, y1 = (round(edge) for edge in hero["boxes"][1])
            assert mask[1, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].min() == 1


def _other(hero: Hero) -> str:
    return next(c for c in ("red", "blue", "green", "yellow", "pink") if c not in hero.attributes().values())


def test_heads_are_in_the_picture_in_nearly_every_shot() -> None:
    heroes = [hero for seed in range(400) for hero in ground_truth(sample_shot(seed), 5)["heroes"]]
    assert sum("species" in hero["visible"] for hero in heroes) > 0.97 * len(heroes)
    hats = [hero for hero in heroes if hero["attributes"]["hat"]]
    assert sum("hat" in hero["visible"] for hero in hats) > 0.9 * len(hats)
