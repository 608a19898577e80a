"""What is held out of footage is like nothing that is trained on, and wrong memory is of something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

from storymem.errors import SettingsError
from storymem.training.footage import FootageClip, FootageSource, read_clips, write_clips
from storymem.training.plan import GroupTable, held_out_plans
from storymem.training.run import train
from storymem.training.sections import DataSection
from storymem.training.store import GroupStore
from storymem.training.vae import PixelLoader

# Two clips in each of eight groups; of two days there are two groups and of one day there are three.
SCENES = (0, 0, 1, 2, 2, 2, 3, 3)


def listed(scenes: tuple[int | None, ...], digests: str = "") -> list[FootageClip]:
    """Two clips for each of these groups; `digests` are those of the groups' videos, a letter for each."""
    digests = digests or "abcdefghij"[: len(scenes)]
    return [
        FootageClip(f"v-{digest * 8}-{2 * group + number:07d}", group, "v.mp4", 0, 4, None, ("A.",), scene)
        for group, (scene, digest) in enumerate(zip(scenes, digests, strict=True))
        for number in range(2)
    ]


def footage(folder: Path, clips: list[FootageClip]) -> FootageSource:
    rng = np.random.default_rng(0)
    toys.write_footage(
        folder,
        ((clip, rng.uniform(-1, 1, (5, 3, 1, 1)).repeat(32, 2).repeat(32, 3).astype(np.float32)) for clip in clips),
    )
    return FootageSource(folder, 32, 32, 5)


def store(source: FootageSource, held_out: int) -> GroupStore[Any]:
    section = DataSection(folder=source.folder, width=32, height=32, num_frames=5, held_out=held_out)
    return GroupStore(PixelLoader(source), section, windowed=False, scenes=source.scenes)


@pytest.mark.parametrize(
    ("wanted", "held_out", "training"),
    [
        (0, (), (0, 1, 2, 3, 4, 5, 6, 7)),
        (1, (7,), (0, 1, 2, 3, 4, 5)),  # 6 is neither
        (2, (5, 7), (0, 1, 2)),  # of two scenes
        (3, (5, 6, 7), (0, 1, 2)),
        (5, (3, 4, 5, 6, 7), (0, 1, 2)),
        (6, (2, 3, 4, 5, 6, 7), (0, 1)),
    ],
)
def test_whole_scenes_are_held_out(
    tmp_path: Path, wanted: int, held_out: tuple[int, ...], training: tuple[int, ...]
) -> None:
    ours = store(footage(tmp_path / "data", listed(SCENES)), wanted)
    assert ours.held_out == held_out
    assert ours.window(0) == tuple(ours.training) == training
    assert set(ours.table(0).groups).isdisjoint(held_out)


def test_where_all_is_one_scene_nothing_can_be_held_out(tmp_path: Path) -> None:
    source = footage(tmp_path / "data", listed((5, 5, 5)))
    assert store(source, 0).window(0) == (0, 1, 2)
    with pytest.raises(SettingsError, match=r"data\.held_out is 1, but .* all 3 groups would be kept out of training"):
        store(source, 1)
    with pytest.raises(SettingsError, match="only 3 of 3 groups have related clips"):
        store(source, 4)
    two = footage(tmp_path / "two", listed((0, 1, 1)))
    assert store(two, 2).held_out == (1, 2)  # nothing would be left of two scenes
    with pytest.raises(SettingsError, match="only 3 of 3"):
        store(two, 3)


def test_of_lists_that_name_no_scenes_a_video_is_one(tmp_path: Path) -> None:
    source = footage(tmp_path / "data", listed((None,) * 5, "aabbc"))
    assert source.scenes == [0, 0, 1, 1, 2]
    assert store(source, 1).window(0) == (0, 1, 2, 3)
    assert store(source, 3).window(0) == (0, 1)
    clips = listed((None,) * 5, "aabbc")
    across = [*clips[:3], FootageClip("v-bbbbbbbb-0000099", 1, "v.mp4", 0, 4, None, ("A.",)), *clips[4:]]
    assert footage(tmp_path / "across", across).scenes == [0, 0, 0, 0, 1]  # a group of clips of two videos
    odd = [FootageClip(f"c{n}", n // 2, "v.mp4", 0, 4, None) for n in range(4)]
    assert footage(tmp_path / "odd", odd).scenes == [0, 1]


def test_scenes_are_kept_in_the_list(tmp_path: Path) -> None:
    clips = [*listed((4, None)), *listed((4, 4, 9))[4:]]
    write_clips(tmp_path, clips)
    assert read_clips(tmp_path) == clips
    text = (tmp_path / "clips.jsonl").read_text().replace('"scene": 9', '"scene": "x"')
    (tmp_path / "clips.jsonl").write_text(text)
    with pytest.raises(SettingsError, match=r"clips\.jsonl:5: scene must be a number"):
        read_clips(tmp_path)


def test_wrong_memory_is_of_another_scene() -> None:
    table = GroupTable((10, 11, 12, 13, 14), (2, 3, 2, 2, 2), 3, 0, scenes=(0, 0, 0, 1, 1))
    plans = held_out_plans(table, 20, 3, 0)
    scene = {10: 0, 11: 0, 12: 0, 13: 1, 14: 1}
    assert {right.group for right, _ in plans} == set(scene)
    assert all(scene[right.group] != scene[wrong.group] for right, wrong in plans)
    alone = GroupTable((10, 11), (2, 2), 3, 0, scenes=(0, 0))
    assert all(right.group == wrong.group for right, wrong in held_out_plans(alone, 4, 3, 0))  # nothing is known


def test_of_a_world_nothing_changes() -> None:
    apart = GroupTable((10, 11, 12), (2, 3, 2), 3, 1, scenes=(0, 1, 2))
    world = GroupTable((10, 11, 12), (2, 3, 2), 3, 1)
    assert held_out_plans(apart, 9, 3, 5) == held_out_plans(world, 9, 3, 5)
    assert [(right.group, wrong.group) for right, wrong in held_out_plans(world, 4, 3, 5)] == [
        (10, 11),
        (11, 12),
        (12, 10),
        (10, 11),
    ]
    section = DataSection(world="squares", width=32, height=32, num_frames=5, held_out=3, pool=4)
    source = toys.Squares(32, 32, 5, {"groups": 9})
    ours = GroupStore(PixelLoader(source), section, windowed=True, scenes=[0] * 9)
    assert (ours.held_out, tuple(ours.training)) == ((6, 7, 8), (0, 1, 2, 3, 4, 5))


def test_a_run_looks_at_what_it_has_not_learned_from(tmp_path: Path, small_model: Path) -> None:
    """And says nothing of wrong memory where all that is held out is of one scene."""
    source = footage(tmp_path / "data", listed(SCENES))

    def kinds(output: str, *overrides: str) -> set[str]:
        seen: list[Any] = []
        given = (f"model={small_model}", "steps=1", "validation={every: 1, clips: 4, levels: [0.5]}", *overrides)
        config = toys.on_footage(
            toys.MEMORY, source.folder, tmp_path / output, *given, data="keyframes_per_clip: 4, held_out: 2"
        )
        train(config, on_record=seen.append)
        return {name.rsplit("/", 1)[1] for record in seen for name in record if name.startswith("validation")}

    assert kinds("two") == {"right", "none", "wrong"}
    write_clips(source.folder, listed((0, 0, 0, 1, 1, 1, 1, 1)))
    with pytest.raises(SettingsError, match=r"not what they name \(clips held out\)"):
        kinds("two", "steps=2")
    write_clips(source.folder, listed((0, 0, 1, 1, 1, 1, 1, 1)))
    assert kinds("one") == {"right", "none"}  # of two scenes nothing would be left


def test_a_run_of_before_there_were_scenes_does_not_go_on_with_fewer_clips(tmp_path: Path, small_model: Path) -> None:
    source = footage(tmp_path / "data", listed(SCENES))

    def run(output: str, *overrides: str) -> None:
        given = (f"model={small_model}", *overrides)
        train(
            toys.on_footage(
                toys.MEMORY, source.folder, tmp_path / output, *given, data="keyframes_per_clip: 4, held_out: 1"
            )
        )

    run("kept", "steps=1")  # group 6 is of the scene of 7, and not trained on
    notes = next((tmp_path / "kept" / "checkpoints").glob("*/*.json"))
    said = json.loads(notes.read_text())
    assert said.pop("clips held out")
    notes.write_text(json.dumps(said))
    with pytest.raises(SettingsError, match=r"not what they name \(clips held out\)"):
        run("kept", "steps=2")
    write_clips(source.folder, listed((0, 0, 1, 2, 2, 2, 3, 4)))  # nothing but the last group is kept out
    run("alike", "steps=1")
    notes = next((tmp_path / "alike" / "checkpoints").glob("*/*.json"))
    said = json.loads(notes.read_text())
    assert said.pop("clips held out") == "the last groups"
    notes.write_text(json.dumps(said))
    run("alike", "steps=2")


def test_a_video_of_which_some_clips_have_no_scene_yet_is_one(tmp_path: Path) -> None:
    source = footage(tmp_path / "data", listed((0, 1, 2, None), "aabb"))
    assert source.scenes == [0, 1, 2, 2]
