from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fault_server import content
from filming import Studio, of
from procedural import THREE_SHOTS, story, tiny_settings

from storymem.errors import FilmDamagedError, FilmError, SettingsError, StorageError
from storymem.film.events import ShotReused, ShotStarted
from storymem.film.film_settings import FilmSettings
from storymem.film.manifest import Manifest, ToolFacts, read_manifest, write_manifest
from storymem.film.picks import shot_seed
from storymem.film.project import Film
from storymem.film.recipe import Recipe
from storymem.film.record import pack_record, unpack_record
from storymem.film.takes import TakeStore
from storymem.settings import MemoryConfig, SamplingConfig

FACTS = ToolFacts("m" * 64, "encoder", "scorer", 3.0)


def manifest(**changes: Any) -> Manifest:
    made = Manifest(story(), "script.yaml", "0" * 64, tiny_settings(), FACTS)
    return replace(made, **changes)


def edited(finished: Studio, change: dict[str, Any]) -> None:
    """film.json changed by hand, with a checksum that fits."""
    path = finished.folder / "film.json"
    path.write_bytes(pack_record({**unpack_record(path.read_bytes()), **change}))


class TestSeeds:
    def test_pinned(self) -> None:
        """The seeds of films that are already made."""
        assert shot_seed(0, "01-01") == 4716182532019959
        assert shot_seed(0, "01-01", 1) == 783359104092035

    def test_no_two_alike(self) -> None:
        ids = [f"{scene:02}-{shot:02}" for scene in range(1, 31) for shot in range(1, 31)]
        seeds = {shot_seed(film, shot, retake) for film in range(3) for shot in ids for retake in range(3)}
        assert len(seeds) == 3 * 900 * 3
        assert all(0 <= seed < 2**53 for seed in seeds)


def test_no_shot_is_longer_than_a_shot_may_be() -> None:
    settings = tiny_settings()
    manifest(settings=replace(settings, sampling=replace(settings.sampling, num_frames=9997))).check_lengths()
    longer = manifest(settings=replace(settings, sampling=replace(settings.sampling, num_frames=10001)))
    with pytest.raises(FilmError, match=r"Shot 01-01 has 10001 frames at \d+ per second; a shot has at most 9997"):
        longer.check_lengths()


class TestSettings:
    def test_what_is_given_is_stronger_than_the_script_and_that_than_our_defaults(self) -> None:
        told = story(f"defaults:\n  num_inference_steps: 7\n  fps: 12\n  seed: 5\n{THREE_SHOTS}")
        settings = FilmSettings.for_story(told, sampling={"fps": 24, "width": None}, memory={"capacity": 4})
        assert (settings.sampling.num_inference_steps, settings.sampling.fps) == (7, 24)
        assert (settings.sampling.width, settings.memory.capacity, settings.seed) == (832, 4, 5)
        assert FilmSettings.for_story(told, seed=0).seed == 0

    def test_a_duration_is_counted_at_the_films_rate_unless_frames_are_given(self) -> None:
        told = story(f"defaults:\n  fps: 12\n  duration: 2\n{THREE_SHOTS}")
        assert FilmSettings.for_story(told).sampling.num_frames == 25
        assert FilmSettings.for_story(told, sampling={"fps": 24}).sampling.num_frames == 49
        assert FilmSettings.for_story(told, sampling={"num_frames": 9}).sampling.num_frames == 9

    def test_continue_with(self) -> None:
        with pytest.raises(SettingsError, match="it must be mi2v or mm2v"):
            FilmSettings(continue_with="i2v")  # type: ignore[arg-type]

    def test_an_int_for_a_float_is_the_same_setting(self) -> None:
        """4 from a script and 4.0 from an option must not make a film stale."""
        whole = Recipe.sampling_of(SamplingConfig(shift=4, guidance_scale=3))
        assert json.dumps(whole) == json.dumps(Recipe.sampling_of(SamplingConfig(shift=4.0, guidance_scale=3.0)))

    def test_a_setting_that_older_films_do_not_know_is_in_the_key_only_when_it_is_used(self) -> None:
        assert not {"memory_guidance_scale", "blank"} & set(Recipe.sampling_of(SamplingConfig()))
        assert Recipe.sampling_of(SamplingConfig(blank="gradient"))["blank"] == "gradient"
        assert Recipe.sampling_of(SamplingConfig(memory_guidance_scale=2))["memory_guidance_scale"] == 2.0

    def test_speed_settings_are_no_difference(self, finished: Studio) -> None:
        finished.sample(batch_cfg=True)
        assert len(of(finished.generate(), ShotReused)) == 3

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"num_inference_steps": 4}, "num_inference_steps 2 (asked for: 4)"),
            ({"width": 48}, "width 32 (asked for: 48)"),
            ({"fps": 8}, "fps 16 (asked for: 8)"),
            ({"memory_guidance_scale": 2.0}, "memory_guidance_scale 1.0 (asked for: 2.0)"),
        ],
    )
    def test_a_film_is_not_mixed_by_accident(self, finished: Studio, change: dict[str, int], says: str) -> None:
        before = content(finished.folder)
        finished.sample(**change)
        with pytest.raises(FilmError) as caught:
            finished.generate()
        assert says in str(caught.value)
        assert "--remake" in str(caught.value)
        assert content(finished.folder) == before

    def test_another_model(self, finished: Studio) -> None:
        finished.play("another")
        with pytest.raises(FilmError, match="made with another model"):
            finished.generate()

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            (tiny_settings(capacity=4), r"memory capacity 10 \(asked for: 4\)"),
            (tiny_settings(quality_threshold=2.0), r"memory quality_threshold 3.0 \(asked for: 2.0\)"),
            (replace(tiny_settings(), seed=8), r"seed 7 \(asked for: 8\)"),
            (replace(tiny_settings(), negative_prompt="blur"), "negative_prompt '' "),
        ],
    )
    def test_other_film_settings(self, finished: Studio, settings: FilmSettings, says: str) -> None:
        finished.settings = settings
        with pytest.raises(FilmError, match=says):
            finished.generate()

    def test_remake_takes_the_new_settings_over(self, finished: Studio) -> None:
        finished.sample(width=48)
        events = finished.generate(remake=True)
        assert len(of(events, ShotStarted)) == 3
        assert finished.take("01-02").keyframes(1)[0].pixels.shape == (3, 32, 48)
        assert finished.statuses() == ["done"] * 3

    def test_before_the_first_take_settings_are_free(self, studio: Studio) -> None:
        with studio.begin():
            pass
        studio.sample(num_inference_steps=3)
        with studio.begin() as film:
            assert film.manifest.settings.sampling.num_inference_steps == 3

    def test_differences_names_all(self) -> None:
        other = FilmSettings(SamplingConfig(), MemoryConfig(), seed=9)
        said = manifest().differences(other, replace(FACTS, model="n", encoder="e", scorer=None))
        assert {"another model", "another encoder", "another scorer", "seed 7 (asked for: 9)"} <= set(said)
        assert manifest().differences(tiny_settings(), replace(FACTS, description={"device": "cuda"})) == []


class TestFolder:
    def test_parents_are_made(self, studio: Studio) -> None:
        studio.folder = studio.folder / "deep" / "film"
        with studio.begin():
            pass
        assert Film.is_in(studio.folder)

    def test_film_json_and_script_are_there_from_the_start(self, studio: Studio) -> None:
        with studio.begin():
            assert [planned.status for planned in studio.plan()] == ["missing"] * 3
            assert (studio.folder / "script.yaml").read_text() == studio.script

    def test_the_script_is_kept_as_it_was_given(self, finished: Studio) -> None:
        (finished.folder / "script.yaml").write_bytes(bytes(200))  # which is damage, and nobody's work
        finished.generate()
        assert not list(finished.folder.glob("script.edited-*"))
        assert (finished.folder / "script.yaml").read_text() == finished.script
        finished.script = f"# a remark\n{finished.script}"
        assert len(of(finished.generate(), ShotReused)) == 3
        assert (finished.folder / "script.yaml").read_text().startswith("# a remark")

    def test_nor_is_it_lost_when_one_with_another_ending_is_given(self, finished: Studio) -> None:
        kept = finished.folder / "script.yaml"
        given = replace(finished.story(), source=Path("elsewhere/script.yml"))
        with finished.begin(story=given) as film:
            assert film.edited_script is None
        assert [path.name for path in finished.folder.glob("script*")] == ["script.yml"]
        edited = finished.script.replace("Mara lights a lantern.", "Mara lights two lanterns.")
        (finished.folder / "script.yml").write_text(edited)
        with finished.begin() as film:
            assert film.edited_script == finished.folder / "script.edited-1.yml"
            assert film.edited_script.read_text() == edited
        assert kept.read_text() == finished.script
        assert not (finished.folder / "script.yml").exists()

    def test_a_script_that_was_edited_in_the_folder_is_not_lost(self, finished: Studio) -> None:
        kept = finished.folder / "script.yaml"
        edited = finished.script.replace("Mara lights a lantern.", "Mara lights two lanterns.")
        for number in (1, 2):
            kept.write_text(edited)
            with finished.begin() as film:
                aside = finished.folder / f"script.edited-{number}.yaml"
                assert film.edited_script == aside
                assert aside.read_text() == edited
            assert kept.read_text() == finished.script
        kept.write_text("title: nearly done\nshotz: []\n")
        with finished.begin() as film:
            assert film.edited_script is not None
            assert film.edited_script.read_text() == "title: nearly done\nshotz: []\n"
            film.edited_script.unlink()
        # Gone on with, it is the film's; and a newer version of the script is no edit of the folder's.
        kept.write_text(edited)
        finished.script = edited
        finished.generate()
        finished.script = f"# a remark\n{edited}"
        with finished.begin() as film:
            assert film.edited_script is None
        assert len(list(finished.folder.glob("script.edited-*"))) == 2

    def test_a_file(self, studio: Studio) -> None:
        studio.folder.write_text("mine")
        with pytest.raises(FilmError, match="film: is a file: choose a folder"):
            studio.generate()
        studio.folder = studio.folder / "below"
        with pytest.raises(FilmError, match="film: is a file: choose a folder"):
            studio.generate()

    def test_other_things_in_the_folder(self, studio: Studio) -> None:
        studio.folder.mkdir()
        (studio.folder / "holiday.jpg").write_bytes(b"")
        with pytest.raises(FilmError, match=r"has other things in it, such as 'holiday.jpg'"):
            studio.generate()
        assert [path.name for path in studio.folder.iterdir()] == ["holiday.jpg"]

    @pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a place where nobody may write")
    def test_a_place_where_nobody_may_write(self, studio: Studio) -> None:
        studio.folder = Path("/sys/kernel/film")
        with pytest.raises(StorageError, match="choose another place or mend its rights") as caught:
            studio.generate()
        assert caught.value.exit_code == 2

    def test_a_film_with_exports_that_lost_its_film_json(self, finished: Studio) -> None:
        (finished.folder / "film.json").unlink()
        (finished.folder / "film.mp4").write_bytes(b"")
        assert len(of(finished.generate(), ShotReused)) == 3

    def test_no_film(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "missing"):
            with pytest.raises(FilmError, match="there is no film in this folder: make one with `storymem generate"):
                Film.open(folder)

    def test_a_film_can_be_moved(self, finished: Studio, tmp_path: Path) -> None:
        shutil.move(finished.folder, tmp_path / "elsewhere")
        finished.folder = tmp_path / "elsewhere"
        assert len(of(finished.generate(), ShotReused)) == 3

    def test_leftovers_are_swept_up(self, finished: Studio) -> None:
        for place in ("", "takes/01-02/", "references/"):
            (finished.folder / f"{place}.making-x-1").mkdir(parents=True)
        (finished.folder / ".making-film.json-1").write_bytes(b"{")
        finished.generate()
        assert not list(finished.folder.rglob(".making-*"))

    def test_takes_of_older_runs_never_get_into_a_film(self, finished: Studio) -> None:
        """The method's public code finds keyframes by looking around in a folder; here nothing is found that way."""
        takes = finished.folder / "takes"
        shutil.copytree(takes / "01-01", takes / "01-04")
        shutil.copytree(next((takes / "01-01").iterdir()), takes / "01-02" / ("f" * 16))
        shutil.copy(next((takes / "01-01").rglob("00.png")), finished.folder / "takes" / "00.png")
        before = finished.plan()
        events = finished.generate()
        assert of(events, ShotStarted) == []
        assert finished.plan() == before

    def test_a_take_that_was_copied_to_another_name_is_not_taken_for_it(self, finished: Studio) -> None:
        folder = finished.take("01-01").folder
        other = finished.take("01-02").folder
        shutil.rmtree(other)
        shutil.copytree(folder, other)
        planned = finished.plan()[1]
        assert planned.status == "damaged"
        assert "take.json is of another take" in planned.reason


class TestManifest:
    def test_comes_back(self) -> None:
        assert read_manifest(write_manifest(manifest()), Path("film.json")) == manifest()

    def test_has_no_time_in_it(self) -> None:
        assert write_manifest(manifest()) == write_manifest(manifest())

    def test_a_newer_version(self, finished: Studio) -> None:
        edited(finished, {"version": 99})
        with pytest.raises(FilmError, match="made by a newer storymem") as caught:
            finished.film()
        assert not isinstance(caught.value, FilmDamagedError)

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff\xfe"])
    def test_broken_json(self, finished: Studio, data: bytes) -> None:
        (finished.folder / "film.json").write_bytes(data)
        for use in (finished.film, finished.generate):
            with pytest.raises(FilmDamagedError, match="The takes are not touched: move this file away"):
                use()

    def test_a_wrong_bit(self, finished: Studio) -> None:
        path = finished.folder / "film.json"
        path.write_bytes(path.read_bytes().replace(b'"seed": 7', b'"seed": 6'))
        with pytest.raises(FilmDamagedError, match="does not fit its checksum"):
            finished.film()

    @pytest.mark.parametrize(
        "change",
        [
            {"format": "something else"},
            {"version": "1"},
            {"settings": {}, "story": None},
            {"settings": {"sampling": {"width": 5}}},
            {"chosen": []},
        ],
    )
    def test_what_is_no_film(self, finished: Studio, change: dict[str, Any]) -> None:
        edited(finished, change)
        with pytest.raises(FilmDamagedError):
            finished.film()

    @pytest.mark.parametrize("name", ["../../etc", "/etc", "..", "", ".hidden", "a/b", "a\x00b", "x" * 65])
    def test_an_id_that_leads_out_of_the_folder(self, finished: Studio, name: str) -> None:
        for field, value in (("chosen", "0" * 64), ("kept", []), ("overrides", {})):
            edited(finished, {field: {name: value}})
            with pytest.raises(FilmError, match="cannot be a shot's id"):
                finished.film()

    @pytest.mark.parametrize("name", ["../script.yaml", "/etc/passwd", "film.json", "script./../x"])
    def test_a_script_name_that_leads_out_of_the_folder(self, finished: Studio, name: str) -> None:
        edited(finished, {"script_name": name})
        with pytest.raises(FilmError, match="cannot be the name of a film's script"):
            finished.film()

    @pytest.mark.parametrize("key", ["../x", "", "ABC", "0" * 63, "0" * 63 + "/"])
    def test_a_key_that_is_none(self, tmp_path: Path, key: str) -> None:
        with pytest.raises(FilmError, match="64 hexadecimal digits"):
            TakeStore(tmp_path).folder_of("01-01", key)


def test_a_take_of_a_newer_version_is_not_taken_for_a_damaged_one(finished: Studio) -> None:
    folder = finished.take("01-03").folder
    record = unpack_record((folder / "take.json").read_bytes())
    (folder / "take.json").write_bytes(pack_record({**record, "format": 2}))
    with pytest.raises(FilmError, match="made by a newer storymem"):
        finished.generate()
    assert folder.is_dir()


class TestPins:
    def test_a_banned_keyframe_is_seen_no_more(self, finished: Studio) -> None:
        seen = finished.plan()[2].memory
        assert seen is not None
        with Film.work(finished.folder) as film:
            film.pin(ban=[seen[0].id])
        planned = finished.plan()
        assert [p.status for p in planned] == ["done", "stale", "stale"]
        assert planned[2].memory == seen[1:]
        finished.generate(remake=True)
        assert finished.statuses() == ["done"] * 3
        with Film.work(finished.folder) as film:
            film.pin(free=[seen[0].id])
        events = finished.generate(remake=True)
        assert of(events, ShotStarted) == []  # the old takes are the right ones again

    def test_pins_are_checked(self, finished: Studio) -> None:
        with Film.work(finished.folder) as film:
            film.pin(["a" * 64])
            with pytest.raises(SettingsError, match="11 keyframes are pinned"):
                film.pin([f"{n:064}" for n in range(10)])
            with pytest.raises(SettingsError, match="both pinned and banned"):
                film.pin(["b" * 64], ban=["b" * 64])
            film.pin(ban=["a" * 64])
            assert (film.manifest.pinned, film.manifest.banned) == ((), ("a" * 64,))
