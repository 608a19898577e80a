"""From a suite to scores: films made by several systems, resumed, scored, and what is left out told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from procedural_maker import RememberingMaker, SmallSettings, tools_for

from storymem.bench.encoders import BuiltinVideoEncoder, sample_middle
from storymem.bench.features import cached_features, embed_film, shot_features
from storymem.bench.films import find_films, open_film, read_suite, script_in
from storymem.bench.make import FilmJob, make_controls, make_films, write_suite
from storymem.bench.score import Instruments, read_scores, score_folder
from storymem.bench.suites import BenchStory, SuiteOptions, open_suite
from storymem.bench.systems import SYSTEMS, systems_named
from storymem.errors import FilmError, MediaError, SettingsError
from storymem.film.plan import plan_film
from storymem.film.project import Film
from storymem.media import write_video
from storymem.story import parse_story
from storymem.worlds.storyland.suite import StorylandSuite

OPTIONS = SuiteOptions(stories=2, shots=4, width=48, height=32, num_frames=9, seed=3)


def jobs(folder: Path, suite: StorylandSuite, names: str) -> list[FilmJob]:
    return [
        FilmJob(folder, story, system, SmallSettings(), tools_for)
        for system in systems_named(names)[0]
        for story in write_suite(folder, suite)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    suite = StorylandSuite(OPTIONS)
    for _ in make_films(jobs(folder, suite, ",".join(SYSTEMS))):
        pass
    for _ in make_controls(folder, suite, ["real", "shuffled", "frozen", "noise"]):
        pass
    return folder


def test_every_system_is_what_it_says(made: Path) -> None:
    story = find_films(made)[0][1]

    def modes(system: str) -> list[str]:
        return [planned.mode for planned in plan_film(Film.open(made / system / story))]

    def seen(system: str) -> list[int]:
        return [len(planned.memory or ()) for planned in plan_film(Film.open(made / system / story))]

    settings = {name: Film.open(made / name / story).manifest.settings for name in SYSTEMS}
    assert seen("no-memory") == [0, 0, 0, 0]
    assert max(seen("memory")) > 0
    assert modes("last-frame-chain") == ["t2v", "mi2v", "mi2v", "mi2v"]
    assert seen("last-frame-chain") == [0, 0, 0, 0]
    assert settings["stride-1"].sampling.memory_stride == 1
    guidance = {name: some.sampling.memory_guidance_scale for name, some in settings.items()}
    assert guidance == dict.fromkeys(SYSTEMS, 1.0) | {"guided-memory": 2.0}
    assert settings["no-sink"].memory.sink == 0
    takes = [Film.open(made / "first-frame-only" / story).chosen_take(planned.shot.id)
             for planned in plan_film(Film.open(made / "first-frame-only" / story))]  # fmt: skip
    assert [[key.frame_index for key in take.record.keyframes] for take in takes if take] == [[0]] * 4


def test_a_shot_sees_the_portraits_of_whom_it_names_in_one_system_only(made: Path) -> None:
    films = {name: Film.open(made / name / "story-0004") for name in SYSTEMS}  # of two heroes
    portraits = {name: len(film.manifest.portraits) for name, film in films.items()}
    assert portraits == dict.fromkeys(SYSTEMS, 0) | {"portraits": 2}
    seen = [
        (planned.shot.characters, [seen.label for seen in planned.memory or ()])
        for planned in plan_film(films["portraits"])[2:]
    ]
    assert len({name for names, _ in seen for name in names}) == 2
    for names, labels in seen:
        assert set(labels) == {f"{name} (portrait)" for name in names}


def test_only_one_system_tells_looks_in_portraits_and_none_in_prompts(made: Path) -> None:
    for system in SYSTEMS:
        for _, story, place in find_films(made):
            if place.parent.name == system:
                shots = Film.open(place).manifest.story.shots
                written = parse_story((made / "stories" / story / "script.yaml").read_text(), "script.yaml", None)
                assert [shot.full_prompt for shot in shots] == [shot.prompt for shot in written.shots]


def test_portraits_need_somebody_to_portray(tmp_path: Path) -> None:
    story = BenchStory("lamp", "title: The lamp\noverview: Light.\nscenes:\n  - shots:\n      - prompt: A lamp.\n")
    wanted = [FilmJob(tmp_path, story, SYSTEMS[name], SmallSettings(), tools_for) for name in ("memory", "portraits")]
    with pytest.raises(FilmError, match="lamp: the script has no cast with descriptions or portraits, so the system"):
        list(make_films(wanted))
    assert not list(tmp_path.iterdir())


def test_made_again_nothing_is_made(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(RememberingMaker, "make", refuse)
    assert len(list(make_films(jobs(made, StorylandSuite(OPTIONS), "memory,stride-1")))) == 4
    assert not list(make_controls(made, StorylandSuite(OPTIONS), ["real"]))


def test_another_suite_does_not_go_into_the_same_folder(made: Path) -> None:
    with pytest.raises(FilmError, match="another suite or other options"):
        write_suite(made, StorylandSuite(SuiteOptions(stories=3, shots=4)))


@pytest.mark.slow
def test_processes_make_the_same_films(tmp_path: Path, made: Path) -> None:
    assert len(list(make_films(jobs(tmp_path, StorylandSuite(OPTIONS), "memory"), processes=2))) == 2
    for _, story, place in find_films(tmp_path):
        one, other = Film.open(place).manifest.chosen, Film.open(made / "memory" / story).manifest.chosen
        assert one == other


def test_scores_have_every_film_and_say_what_measured_them(made: Path) -> None:
    told = []
    scores = score_folder(made, Instruments(BuiltinVideoEncoder()), on_film=lambda *about: told.append(about[:2]))
    assert read_scores(made) == json.loads(json.dumps(scores))
    assert set(scores["systems"]) == {*SYSTEMS, "real", "shuffled", "frozen", "noise"}
    assert len(told) == 24
    assert not scores["left_out"]
    assert scores["instruments"]["encoder"]["identity"].startswith("builtin-video-1")
    assert scores["instruments"]["text"] is None
    for stories in scores["systems"].values():
        for one in stories.values():
            assert one["numbers"]["prompt_film"] is None  # not measured is not a number
            assert len(one["similarity"]) == len(one["shots"]) == 4

    def mean(system: str, key: str) -> float:
        return float(np.mean([one["numbers"][key] for one in scores["systems"][system].values()]))

    assert mean("memory", "consistency_all") > mean("no-memory", "consistency_all")
    assert mean("frozen", "diversity") < mean("real", "diversity")
    assert mean("noise", "consistency_all") < mean("shuffled", "consistency_all")


def test_a_second_scoring_looks_at_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = score_folder(made, Instruments(BuiltinVideoEncoder()))
    monkeypatch.setattr("storymem.bench.features.shot_features", lambda *_: pytest.fail("looked again"))
    assert score_folder(made, Instruments(BuiltinVideoEncoder())) == first


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    clip = tmp_path / "01.mkv"
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)
    write_video(clip, iter(frames), 16, codec="ffv1")
    encoder, cache = BuiltinVideoEncoder(), tmp_path / "cache"
    before = cached_features(clip, 0, encoder, None, cache)
    (kept,) = cache.rglob("*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    after = cached_features(clip, 0, encoder, None, cache)
    assert np.array_equal(before.embedding, after.embedding)
    assert cached_features(clip, 3, encoder, None, cache).worth is not None
    assert len(list(cache.rglob("*.npz"))) == 2
    with pytest.raises(MediaError, match="no frames left after the 9"):
        cached_features(clip, 9, encoder, None, cache)


def test_a_whole_film_is_embedded_from_frames_of_all_of_it(tmp_path: Path) -> None:
    shots = np.random.default_rng(0).integers(0, 256, (2, 8, 32, 48, 3), dtype=np.uint8)
    files = []
    for number, frames in enumerate(shots):
        write_video(tmp_path / f"{number}.mkv", iter(frames), 16, codec="ffv1")
        files.append((tmp_path / f"{number}.mkv", number))  # one frame of the second repeats the first
    joined = np.concatenate([shots[0], shots[1][1:]])
    expected = shot_features(list(joined), BuiltinVideoEncoder(), None).embedding
    for _ in range(2):  # made, and from the cache
        assert np.array_equal(embed_film(files, BuiltinVideoEncoder(), tmp_path / "cache"), expected)


def test_frames_are_the_middles_of_segments() -> None:
    assert sample_middle(16) == (0, 2, 4, 6, 8, 10, 12, 14)
    assert sample_middle(81) == (4, 14, 24, 34, 44, 54, 64, 75)
    assert sample_middle(3) == (0, 1, 2, 2, 2, 2, 2, 2)


def simple_folder(folder: Path, shots: int = 3) -> Path:
    rng = np.random.default_rng(0)
    place = folder / "other system" / "a story"
    place.mkdir(parents=True)
    for number in (10, 2, 1)[:shots]:
        frames = rng.integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)
        write_video(place / f"{number}_clip.mp4", iter(frames), 16)
    (place / "film.mp4").write_bytes(b"not a shot")
    return place


def test_clips_of_another_system_need_nothing_but_numbers(tmp_path: Path) -> None:
    place = simple_folder(tmp_path)
    film = open_film(tmp_path, "other system", "a story", place)
    assert [shot.path.name for shot in film.shots] == ["1_clip.mp4", "2_clip.mp4", "10_clip.mp4"]
    numbers = score_folder(tmp_path, Instruments(BuiltinVideoEncoder()))["systems"]["other system"]["a story"][
        "numbers"
    ]
    assert numbers["consistency_all"] is not None
    assert numbers["within_scene"] is None  # without a script there are no scenes
    assert numbers["consistency_top10"] is None


SCRIPT = """\
title: A
scenes:
  - shots: [Ida walks., Ida runs., Ida sits.]
"""


def test_with_a_script_more_is_measured(tmp_path: Path) -> None:
    place = simple_folder(tmp_path)
    (place / "script.yaml").write_text(SCRIPT)
    film = open_film(tmp_path, "other system", "a story", place)
    assert film.facts.prompts == ("Ida walks.", "Ida runs.", "Ida sits.")
    scores = score_folder(tmp_path, Instruments(BuiltinVideoEncoder()))
    assert scores["systems"]["other system"]["a story"]["numbers"]["within_scene"] is not None


def test_a_film_that_cannot_be_scored_is_left_out_with_the_reason(tmp_path: Path) -> None:
    place = simple_folder(tmp_path, shots=2)
    (place / "script.yaml").write_text(SCRIPT)
    scores = score_folder(tmp_path, Instruments(BuiltinVideoEncoder()))
    assert not scores["systems"]
    assert "has 2 shots and its script 3" in scores["left_out"][0]["reason"]


IDA = {"name": "Ida", "attributes": {"hat": "cap"}, "visible": ["hat"], "told": []}


@pytest.mark.parametrize(
    ("shots", "message"),
    [
        ([], "has 3 shots and its truth 0"),
        ([{"characters": [IDA], "setting": {}}] * 2, "has 3 shots and its truth 2"),
        ([{"characters": [IDA | {"visible": ["coat"]}], "setting": {}}] * 3, "shot 1: visible of Ida has 'coat'"),
        ([{"characters": [IDA | {"told": ["coat"]}], "setting": {}}] * 3, "told of Ida has 'coat', which is none"),
        ([{"characters": [IDA | {"told": "hat"}], "setting": {}}] * 3, "told of Ida is 'hat' and must be a list"),
        ([{"characters": [IDA | {"visible": [["hat"]]}], "setting": {}}] * 3, "is no ground truth"),
        ([{"characters": [IDA | {"attributes": ["hat"]}], "setting": {}}] * 3, "its attributes are no mapping"),
        ([{"characters": [IDA | {"name": ["Ida"]}], "setting": {}}] * 3, "is no name"),
        ([{"characters": ["Ida"], "setting": {}}] * 3, "is no ground truth"),
        ([{"characters": [IDA], "setting": []}] * 3, "is no ground truth"),
        (3, "is no ground truth"),
    ],
)
def test_truth_is_checked(tmp_path: Path, shots: object, message: str) -> None:
    place = simple_folder(tmp_path)
    truth = tmp_path / "stories" / "a story" / "truth.json"
    truth.parent.mkdir(parents=True)
    truth.write_text(json.dumps({"shots": [{"characters": [IDA], "setting": {"place": "forest"}}] * 3}))
    assert open_film(tmp_path, "other system", "a story", place).facts.shown == (("Ida",),) * 3
    truth.write_text(json.dumps({"shots": shots}))
    with pytest.raises(FilmError, match=message):
        open_film(tmp_path, "other system", "a story", place)


def test_folders_without_films_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FilmError, match="there are no films in it"):
        find_films(tmp_path)
    with pytest.raises(FilmError, match="no such folder"):
        find_films(tmp_path / "nowhere")
    with pytest.raises(FilmError, match="run `storymem bench score"):
        read_scores(tmp_path)


def test_two_clips_of_one_number_are_refused(tmp_path: Path) -> None:
    place = simple_folder(tmp_path)
    (place / "02-again.mp4").write_bytes((place / "2_clip.mp4").read_bytes())
    ((system, story, found),) = find_films(tmp_path)
    with pytest.raises(MediaError, match="same number"):
        open_film(tmp_path, system, story, found)


def test_one_bad_film_does_not_keep_the_others_from_being_scored(tmp_path: Path) -> None:
    place = simple_folder(tmp_path)
    for name in ("bad script", "same number"):
        shutil.copytree(place, place.with_name(name))
    (place.with_name("bad script") / "script.yaml").write_text("title: A\nscenes: 3\n")
    shutil.copy(place / "2_clip.mp4", place.with_name("same number") / "02-again.mp4")
    scores = score_folder(tmp_path, Instruments(BuiltinVideoEncoder()))
    assert set(scores["systems"]["other system"]) == {"a story"}
    reasons = {one["story"]: one["reason"] for one in scores["left_out"]}
    assert "script.yaml:2: scenes" in reasons["bad script"]
    assert "have the same number" in reasons["same number"]


def test_names_of_systems_are_checked() -> None:
    with pytest.raises(SettingsError, match="'magic' is no system; there are no-memory, memory"):
        systems_named("memory,magic")
    with pytest.raises(SettingsError, match="no system is named"):
        systems_named(" , ")


def test_scripts_from_a_folder_are_a_suite(tmp_path: Path) -> None:
    (tmp_path / "lamp.yaml").write_text(SCRIPT)
    suite = open_suite("st-bench", SuiteOptions(source=tmp_path))
    assert [story.name for story in suite.stories()] == ["lamp"]
    assert suite.real(0) is None
    with pytest.raises(SettingsError, match="needs --source"):
        open_suite("st-bench", SuiteOptions())
    with pytest.raises(SettingsError, match="there are footage, st-bench"):
        open_suite("nothing", SuiteOptions())


def test_a_script_that_has_changed_does_not_go_into_the_same_folder(tmp_path: Path) -> None:
    script, folder = tmp_path / "scripts" / "lamp.yaml", tmp_path / "bench"
    script.parent.mkdir()

    def write(text: str) -> None:
        script.write_text(text)
        write_suite(folder, open_suite("st-bench", SuiteOptions(source=script.parent)))

    write(SCRIPT)
    write(SCRIPT)
    with pytest.raises(FilmError, match=r"see scripts in suite\.json"):
        write(SCRIPT.replace("walks", "swims"))
    older = read_suite(folder)
    assert older is not None
    del older["scripts"]  # as it was written before digests: the script that was kept tells
    (folder / "suite.json").write_text(json.dumps(older))
    with pytest.raises(FilmError, match=r"lamp/script\.yaml: the suite has another text for lamp now"):
        write(SCRIPT.replace("walks", "swims"))
    write(SCRIPT)
    assert "scripts" in (read_suite(folder) or {})


def test_systems_are_made_with_the_same_but_for_what_they_change(tmp_path: Path) -> None:
    suite = StorylandSuite(OPTIONS)

    def write(model: str, steps: int, **more: object) -> None:
        write_suite(tmp_path, suite, {"about": {}, "model": model, "settings": {"sampling": {"steps": steps}, **more}})

    write_suite(tmp_path, suite)  # controls, without a model
    write("one", 2)
    write("one", 3)  # nothing is made yet
    (tmp_path / "memory" / "story").mkdir(parents=True)
    (tmp_path / "memory" / "story" / "film.json").touch()
    with pytest.raises(FilmError, match=r"made with another steps \(see made_with in suite\.json\)"):
        write("one", 2)
    with pytest.raises(FilmError, match="made with another model, steps"):
        write("other", 2)
    write_suite(tmp_path, suite)
    write("one", 3, new="a setting that came later")
    assert (read_suite(tmp_path) or {})["made_with"]["model"] == "one"


def test_stories_of_one_name_are_refused(tmp_path: Path) -> None:
    for first, second in (("a b.yaml", "a-b.yaml"), ("lamp.yaml", "lamp.yml")):
        source = tmp_path / first
        source.mkdir()
        for name in (first, second):
            (source / name).write_text(SCRIPT)
        with pytest.raises(SettingsError, match=rf"{first} and .*{second}: both would be the story"):
            open_suite("st-bench", SuiteOptions(source=source))
        assert len(open_suite("st-bench", SuiteOptions(source=source, stories=1)).stories()) == 1
    clips = simple_folder(tmp_path / "clips")
    clips.with_name("a-story").mkdir()
    with pytest.raises(SettingsError, match=r"a story and .*a-story: both would be the story a-story"):
        open_suite("footage", SuiteOptions(source=clips.parent))
    videos = tmp_path / "videos"
    videos.mkdir()
    for ending in ("mp4", "mkv"):
        (videos / f"bunny.{ending}").touch()
    with pytest.raises(SettingsError, match=r"bunny\.mkv and .*bunny\.mp4: both would be the story bunny"):
        open_suite("footage", SuiteOptions(source=videos))


def test_endings_of_scripts_may_be_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "LAMP.YAML").write_text(SCRIPT)
    write_suite(tmp_path / "bench", open_suite("st-bench", SuiteOptions(source=tmp_path)))
    assert script_in(tmp_path / "bench" / "stories" / "LAMP") is not None


def test_clips_in_folders_are_footage(tmp_path: Path) -> None:
    (simple_folder(tmp_path) / "film.mp4").unlink()
    suite = open_suite("footage", SuiteOptions(source=tmp_path / "other system", width=32, height=16, num_frames=4))
    real = suite.real(0)
    assert real is not None
    assert [len(shot) for shot in real] == [4, 4, 4]
    assert real[0][0].shape == (16, 32, 3)
