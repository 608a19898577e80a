from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from storymem.errors import SettingsError
from storymem.worlds.storyland import Actor, Hero, Place, ShotSpec, ground_truth, render, sample_shot
from storymem.worlds.storyland import compositor as drawing
from storymem.worlds.storyland.heroes import ACCESSORIES, BUILDS, HATS, NECKWEAR, PATTERNS, SPECIES
from storymem.worlds.storyland.palette import COLOURS, PALETTE
from storymem.worlds.storyland.places import PLACES, TIMES
from storymem.worlds.storyland.scene import build_scene
from storymem.worlds.storyland.shots import ACTIONS, CAMERAS, SHOT_TYPES


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def shot(**changes: object) -> ShotSpec:
    hero = changes.pop("hero", Hero("fox", "tall", "orange", "plain"))
    action = changes.pop("action", "stand")
    actor = Actor(hero, "Pip", action, 0.0, 1, 0.2)  # type: ignore[arg-type]
    return replace(ShotSpec((actor,), Place("meadow", 4)), **changes)  # type: ignore[arg-type]


def test_clips_have_the_shape_and_range_that_was_asked_for() -> None:
    video = render([sample_shot(1), sample_shot(2)], 5, 48, 96)
    assert video.shape == (2, 3, 5, 48, 96)
    assert video.dtype == torch.float32
    assert -1 <= video.min() < -0.2
    assert 0.2 < video.max() <= 1


@pytest.mark.parametrize(("height", "width"), [(60, 112), (64, 100), (0, 16)])
def test_sizes_that_no_model_takes_are_refused(height: int, width: int) -> None:
    with pytest.raises(SettingsError, match="multiples of 16"):
        render([sample_shot(1)], 5, height, width)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one shot"):
        render([])


@pytest.mark.parametrize("action", [action for action in ACTIONS if action not in ("stand", "walk", "sit", "read")])
@pytest.mark.parametrize("facing", [-1, 1])
def test_a_sign_right_of_the_head_tells_what_somebody_does(action: str, facing: int) -> None:
    """Whichever way the hero looks; no letter is mirrored, and it hangs more beside the hat than before it."""
    hero = Hero("fox", "tall", "orange", "plain", "woolly hat", "blue")
    spec = ShotSpec((Actor(hero, "Pip", action, 0.0, facing, 0.2),), Place("meadow", 4), camera="static")
    layers = {layer.sprite: layer for layer in build_scene(spec, 5, 64, 112, 16.0).layers if layer.part is not None}
    signs = [sprite for sprite in layers if sprite.startswith("sign/") and sprite not in ("sign/cushion", "sign/puffs")]
    assert len(signs) == 1
    sign, hat = (drawing.layer_boxes(layers[name]) for name in (signs[0], "hat/woolly hat"))
    beside = (sign[:, 2] - hat[:, 2]) / (sign[:, 2] - sign[:, 0])
    assert (beside > (0.3 if action in ("run", "sleep") else 0.5)).all()  # they lean towards it
    assert (np.linalg.det(layers[signs[0]].matrix[:, :, :2]) > 0).all()


def test_every_action_that_has_a_sign_has_its_own() -> None:
    told = {}
    for action in ACTIONS:
        scene = build_scene(shot(action=action), 5, 64, 112, 16.0)
        told[action] = frozenset(
            layer.sprite for layer in scene.layers if layer.sprite.startswith(("sign/", "prop/book"))
        )
    assert told["stand"] == told["walk"] == frozenset()
    rest = [signs for action, signs in told.items() if action not in ("stand", "walk")]
    assert len(set(rest)) == len(rest)


def test_a_seed_gives_the_same_pixels_again() -> None:
    assert torch.equal(render([sample_shot(11)], 5), render([sample_shot(11)], 5))
    assert not torch.equal(render([sample_shot(11)], 5), render([sample_shot(12)], 5))


def test_a_clip_does_not_depend_on_its_batch() -> None:
    specs = [sample_shot(seed) for seed in range(6)]
    batch = render(specs, 5)
    for index, spec in enumerate(specs):
        assert torch.equal(render([spec], 5)[0], batch[index])


def test_drawing_many_at_once_as_a_gpu_does_gives_the_same_picture() -> None:
    scenes = [build_scene(sample_shot(seed), 5, 64, 112, 16) for seed in range(8)]
    alone = drawing.draw(scenes, 5, 64, 112, "cpu")
    together = drawing._draw_together(scenes, drawing._atlas("cpu", 1), 5, 64, 112).clamp(0, 1)
    assert (alone - together).abs().max() < 1e-3  # a quarter of one step of eight bits


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_longer_clip_begins_like_the_short_one_and_a_continued_one_goes_on(camera: str) -> None:
    spec = shot(camera=camera, action="walk" if camera == "follow" else "dance", weather="windy")
    whole = render([spec], 33)[0]
    assert (whole[:, :17] - render([spec], 17)[0]).abs().mean() < 0.01
    # Mip levels follow the camera over the clip, so that equality is not exact.
    assert (whole[:, 16:] - render([spec.continued(1.0)], 17)[0]).abs().mean() < 0.02


@pytest.mark.parametrize("colour", COLOURS)
def test_a_heros_colour_is_the_one_of_its_head(colour: str) -> None:
    for species in ("bear", "dog", "pig"):
        spec = shot(hero=Hero(species, "round", colour, "plain"), shot_type="medium")
        boxes = ground_truth(spec, 3, 128, 224)["heroes"][0]["head_boxes"]
        picture = (render([spec], 3, 128, 224)[0, :, 1].permute(1, 2, 0).numpy() + 1) * 127.5
        x0, y0, x1, y1 = (round(v) for v in boxes[1])
        forehead = picture[y0 + (y1 - y0) * 3 // 8 : y0 + (y1 - y0) // 2, (x0 * 3 + x1) // 4 : (x0 + x1 * 3) // 4]
        pixels = forehead.reshape(-1, 3)
        names = list(PALETTE)
        mains = np.array([PALETTE[name].main for name in names], float)
        nearest = np.abs(pixels[:, None] - mains).sum(-1).argmin(1)
        counts = np.bincount(nearest, minlength=len(names))
        assert names[counts.argmax()] == colour, dict(zip(names, counts, strict=True))


@pytest.mark.parametrize("shot_type", SHOT_TYPES)
@pytest.mark.parametrize("action", ["stand", "walk", "jump", "dance", "sleep"])
def test_boxes_hold_everything_that_changes_with_the_hero(shot_type: str, action: str) -> None:
    looks = Hero("cat", "little", "blue", "striped", "cap", "red", "scarf", "teal")
    spec = shot(hero=looks, shot_type=shot_type, action=action)
    other = shot(
        hero=replace(looks, colour="yellow", hat_colour="green", neckwear_colour="pink"),
        shot_type=shot_type,
        action=action,
    )
    change = (render([spec], 9) - render([other], 9))[0].abs().amax(0).numpy() > 0.04  # [F, H, W]
    boxes = ground_truth(spec, 9)["heroes"][0]["boxes"]
    for frame, box in zip(change, boxes, strict=True):
        ys, xs = np.nonzero(frame)
        assert len(ys) > 40
        x0, y0, x1, y1 = box
        assert xs.min() >= x0 - 1.5
        assert xs.max() <= x1 + 1.5
        assert ys.min() >= y0 - 1.5
        assert ys.max() <= y1 + 1.5
        # ... and they are no larger than they need to be.
        assert (xs.max() - xs.min()) > 0.6 * (x1 - x0)


def every_look() -> list[Hero]:
    looks = [Hero(s, "round", "red", p) for s in SPECIES for p in PATTERNS]
    looks += [Hero("fox", b, "red", p) for b in BUILDS for p in PATTERNS]
    looks += [Hero("fox", "tall", c, "plain") for c in COLOURS]
    looks += [Hero("fox", "tall", "red", "plain", hat=h, hat_colour="blue") for h in HATS]
    looks += [Hero("fox", "tall", "red", "plain", neckwear=n, neckwear_colour="blue") for n in NECKWEAR]
    looks += [Hero("fox", "tall", "red", "plain", accessory=a, accessory_colour="blue") for a in ACCESSORIES]
    return list(dict.fromkeys(looks))


def test_every_look_gives_a_picture_of_its_own() -> None:
    pictures = render([shot(hero=hero) for hero in every_look()], 1)
    flat = pictures.flatten(1)
    distances = torch.cdist(flat, flat) + torch.eye(len(flat)) * 1e9
    assert distances.min() > 1.0


def test_every_action_moves_in_its_own_way() -> None:
    clips = render([shot(action=action, shot_type="medium") for action in ACTIONS], 9)
    moved = (clips[:, :, 1:] - clips[:, :, :-1]).abs().mean((1, 2, 3, 4))
    assert (moved > 5e-4).all(), dict(zip(ACTIONS, moved.tolist(), strict=True))
    flat = clips.flatten(1)
    assert (torch.cdist(flat, flat) + torch.eye(len(flat)) * 1e9).min() > 4.0


@pytest.mark.parametrize("place", PLACES)
def test_every_place_can_be_drawn_at_every_time_and_in_every_weather(place: str) -> None:
    kind = PLACES[place]
    specs = [shot(place=Place(place, 1), time=t, weather=w) for t in TIMES for w in kind.weathers]
    pictures = render(specs, 1).flatten(1)
    assert torch.isfinite(pictures).all()
    if kind.timeless:
        return
    distances = torch.cdist(pictures, pictures) + torch.eye(len(pictures)) * 1e9
    assert distances.min() > 2.0
    noon, night = (next(i for i, s in enumerate(specs) if s.time == t) for t in ("noon", "night"))
    assert pictures[night].mean() < pictures[noon].mean() - 0.1


def test_places_cover_the_whole_picture_whatever_the_camera_does() -> None:
    """No edge of a strip comes into sight: the sky's pure colour never shows below the horizon."""
    for place in PLACES:
        for shot_type in SHOT_TYPES:
            for camera in ("static", "zoom in", "pan left"):
                spec = shot(place=Place(place, 3), shot_type=shot_type, camera=camera)
                scene = build_scene(spec, 5, 64, 112, 16)
                bare = replace(
                    scene, layers=tuple(la for la in scene.layers if la.sprite.startswith(f"place/{place}/"))
                )
                red = replace(bare, top=(4.0, 0.0, 0.0), bottom=(4.0, 0.0, 0.0))
                blue = replace(bare, top=(0.0, 0.0, 4.0), bottom=(0.0, 0.0, 4.0))
                a, b = (drawing.draw([s], 5, 64, 112, "cpu")[0] for s in (red, blue))
                see_through = (a - b).abs().amax(0)[:, 46:]
                assert see_through.max() < 0.05, (place, shot_type, camera)


def test_the_same_place_looks_the_same_again_and_another_layout_does_not() -> None:
    here, again = shot(place=Place("forest", 6), seed=1), shot(place=Place("forest", 6), seed=2)
    there = shot(place=Place("forest", 8), seed=1)
    a, b, c = render([here, again, there], 1)
    ground = slice(40, 64)
    assert (a[..., ground, :] - b[..., ground, :]).abs().mean() < 0.01
    assert (a[..., ground, :] - c[..., ground, :]).abs().mean() > 0.03


@pytest.mark.parametrize(("camera", "direction"), [("pan left", 1), ("pan right", -1)])
def test_what_stands_still_goes_right_when_the_camera_pans_left(camera: str, direction: int) -> None:
    boxes = ground_truth(shot(camera=camera), 17)["heroes"][0]["boxes"]
    assert direction * (boxes[-1][0] - boxes[0][0]) > 3


@pytest.mark.parametrize(("camera", "grows"), [("zoom in", 1), ("zoom out", -1)])
def test_zoom_changes_the_size(camera: str, grows: int) -> None:
    boxes = ground_truth(shot(camera=camera, shot_type="medium"), 17)["heroes"][0]["head_boxes"]
    widths = [box[2] - box[0] for box in boxes]
    assert grows * (widths[-1] - widths[0]) > 1.5


def test_a_follow_shot_keeps_the_walker_in_the_middle() -> None:
    spec = shot(camera="follow", action="run", place=Place("city", 2))
    boxes = np.array(ground_truth(spec, 17)["heroes"][0]["head_boxes"])
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    assert np.ptp(middle) < 6
    clip = render([spec], 17)[0]
    assert (clip[:, 0, 20:30] - clip[:, 8, 20:30]).abs().mean() > 0.05  # the street goes by


def test_hundreds_of_clips_take_minutes_and_no_longer() -> None:
    specs = [sample_shot(seed) for seed in range(8)]
    render(specs[:1], 17)  # loads the atlas
    start = time.perf_counter()
    render(specs, 17)
    assert time.perf_counter() - start < 8, "20 clips a second is usual on a free core"


def test_the_atlas_is_small_and_says_whose_it_is() -> None:
    folder = Path(drawing.__file__).parent / "atlas"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3_000_000
    text = (folder / "CREDITS.md").read_text(encoding="utf-8")
    assert "MIT License" in text
    assert "Microsoft" in text


def test_a_picture_drawn_at_once_is_the_first_frame_of_the_clip_drawn_layer_by_layer() -> None:
    """But for what a layer elsewhere adds because its place is rounded: far less than a level out of 255."""
    for seed in range(3, 9):
        spec = replace(sample_shot(seed), camera="static")  # one that zooms may take another mip level for a clip
        picture, clip = render([spec], 1, 32, 64), render([spec], 9, 32, 64)
        assert (picture[:, :, 0] - clip[:, :, 0]).abs().max() < 1e-4
