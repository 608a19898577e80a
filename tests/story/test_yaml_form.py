# ruff: noqa: E501 - tables of messages read best with a case on a line
from __future__ import annotations

import os
import re
from pathlib import Path
from textwrap import dedent

import pytest

from storymem.errors import ScriptError
from storymem.settings import MemoryConfig, SamplingConfig
from storymem.story import Character, FilmDefaults, Story, frames_for, load_story, parse_story

EXAMPLES = Path(__file__).parents[2] / "examples"


def read(text: str, base: Path | None = None) -> Story:
    return parse_story(dedent(text), "film.yaml", base)


def problems(text: str, base: Path | None = None) -> list[str]:
    with pytest.raises(ScriptError) as caught:
        read(text, base)
    return [line.removeprefix("film.yaml:") for line in caught.value.lines()]


def shot(fields: str, before: str = "") -> str:
    return f"{before}\ntitle: x\nshots:\n- {{prompt: a{', ' + fields if fields else ''}}}\n- {{prompt: b}}\n"


def test_every_field(tmp_path: Path) -> None:
    for name in ("front.png", "side.png"):
        (tmp_path / name).write_bytes(b"")
    story = read(
        """
        title: The Lighthouse
        overview: >
          A girl finds
          a lighthouse.
        cast:
          Mara: {description: a girl, references: [front.png, side.png]}
          Tom: a keeper
        defaults:
          width: 832
          height: 480
          fps: 24
          duration: 2s
          num_inference_steps: 30
          solver: dpm++
          shift: 5
          boundary_ratio: 0.875
          guidance_scale: 4
          guidance_scale_2: 3.5
          memory_stride: 4
          seed: 7
          negative_prompt: blurry
          model: wan
          lora: mem
          memory: {capacity: 8, sink: 2, max_keyframes_per_shot: 4, similarity_threshold: 0.8, threshold_step: 0.05,
                   quality_threshold: 2.5, encoder: clip, scorer: none}
        scenes:
        - title: Beach
          shots:
          - Mara walks.
          - {prompt: Mara waits., cut: false, id: waiting, seed: 3, duration: 1.5, negative_prompt: crowd,
             forget: true, describe_cast: false, first_frame_prompt: Mara seen from afar}
        - shots:
          - {prompt: Tom comes., num_frames: 49, cut: "True"}
        """,
        tmp_path,
    )
    assert (story.title, story.overview) == ("The Lighthouse", "A girl finds a lighthouse.")
    assert story.cast == (
        Character("Mara", "a girl", (tmp_path / "front.png", tmp_path / "side.png")),
        Character("Tom", "a keeper"),
    )
    assert story.references == (tmp_path / "front.png", tmp_path / "side.png")
    assert story.defaults == FilmDefaults(
        width=832, height=480, duration=2.0, fps=24, num_inference_steps=30, solver="dpm++", shift=5.0,
        boundary_ratio=0.875, guidance_scale=4.0, guidance_scale_2=3.5, memory_stride=4, seed=7, negative_prompt="blurry",
        model="wan", lora="mem", capacity=8, sink=2, max_keyframes_per_shot=4, similarity_threshold=0.8,
        threshold_step=0.05, quality_threshold=2.5, encoder="clip", scorer="none",
    )  # fmt: skip
    assert [(scene.number, scene.title, len(scene.shots)) for scene in story.scenes] == [(1, "Beach", 2), (2, None, 1)]
    first, second, third = story.shots
    assert (first.id, first.index, first.scene, first.cut, first.num_frames) == ("01-01", 0, 1, True, None)
    assert (first.prompt, first.full_prompt, first.characters) == ("Mara walks.", "Mara, a girl, walks.", ("Mara",))
    assert (second.id, second.index, second.cut, second.seed, second.forget) == ("waiting", 1, False, 3, True)
    assert (second.num_frames, second.duration, second.negative_prompt) == (None, 1.5, "crowd")
    assert second.frames(SamplingConfig(fps=24)) == 37  # 1.5 s of 24 is 36, the nearest 4k + 1 is 37
    assert (story.defaults.frames(24), story.defaults.frames(16)) == (49, 33)
    assert (second.full_prompt, second.characters) == ("Mara waits.", ("Mara",))
    assert second.first_frame_prompt == "Mara seen from afar"
    assert (third.id, third.index, third.scene, third.num_frames) == ("02-01", 2, 2, 49)


def test_defaults_are_keyword_arguments_of_the_settings() -> None:
    defaults = read("title: x\nshots: [a]\ndefaults: {fps: 24, seed: 3, memory: {capacity: 5}}").defaults
    assert SamplingConfig(**defaults.sampling()) == SamplingConfig(fps=24)
    assert MemoryConfig(**defaults.memory()) == MemoryConfig(capacity=5)
    assert FilmDefaults().sampling() == FilmDefaults().memory() == {}


def test_a_story_says_only_what_the_script_says() -> None:
    story = read("title: x\nshots: [a, b]")
    assert story.defaults == FilmDefaults()
    assert [(s.cut, s.seed, s.num_frames, s.negative_prompt, s.forget) for s in story.shots] == [
        (True, None, None, None, False)
    ] * 2


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [
        (5, 16, 81),
        (3, 16, 49),
        (0.01, 16, 1),
        (1, 24, 25),
        (47 / 16, 16, 49),
        (46 / 16, 16, 45),
        (1 / 16, 16, 1),
        (5 / 16, 16, 5),
    ],
)
def test_durations_become_the_nearest_4k_plus_1(seconds: float, fps: int, frames: int) -> None:
    assert frames_for(seconds, fps) == frames


@pytest.mark.parametrize("duration", ["3", "3.0", '"3s"', "3s", "3 s", '"3.0s"'])
def test_ways_to_write_a_duration(duration: str) -> None:
    assert read(shot(f"duration: {duration}")).shots[0].duration == 3


def test_a_duration_is_seconds_at_any_rate_and_frames_are_frames() -> None:
    long, said, usual = read("title: x\nshots: [{prompt: a, duration: 3}, {prompt: b, num_frames: 5}, c]").shots
    for fps, frames in ((16, 49), (24, 73), (8, 25)):
        sampling = SamplingConfig(fps=fps, num_frames=33)
        assert [shot.frames(sampling) for shot in (long, said, usual)] == [frames, 5, 33]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("cut: perhaps", 'shots[0].cut: found "perhaps"; allowed: true (begins with a cut) or false (continues the shot before)'),
        ("cut: 1", "shots[0].cut: found the number 1; allowed: true"),
        ("cut: no", "shots[0].cut: found false; the first shot of a film has nothing to continue"),
        ("cut: false", "shots[0].cut: found false; the first shot of a film has nothing to continue"),
        ("seed: -1", "shots[0].seed: found the number -1; it must be at least 0"),
        ("seed: 9223372036854775808", "shots[0].seed: found the number 9223372036854775808; it must be at most"),
        (f"seed: {'9' * 5000}", "shots[0].seed: found"),
        ("seed: 1.5", "shots[0].seed: found the number 1.5; a whole number is wanted"),
        ("seed: true", "shots[0].seed: found true; a whole number is wanted"),
        ('seed: "3"', 'shots[0].seed: found "3"; a whole number is wanted'),
        ("seed: ", "shots[0].seed: found nothing; write a value, or leave the field out"),
        ("duration: 0", 'shots[0].duration: found the number 0; a duration is seconds, above 0 and at most 600, such as 3 or "3s"'),
        ("duration: 3m", 'shots[0].duration: found "3m"; a duration is seconds'),
        ("duration: .inf", "shots[0].duration: found the number inf; a duration is seconds"),
        ("duration: 601", "shots[0].duration: found the number 601; a duration is seconds"),
        ("duration: 3, num_frames: 49", "shots[0].duration: both duration and num_frames are given; keep one"),
        ("num_frames: 50", "shots[0].num_frames: found the number 50; a number of frames is 4k + 1 and at most 9997, such as 49 or 53"),
        ("num_frames: -3", "such as 1 or 5"),
        ("id: Opening Shot", 'such as "opening-shot"'),
        ("id: ../up", 'such as "up"'),
        ("id: con", "shots[0].id: found \"con\"; an id names files"),
        ("id: 7", "shots[0].id: found the number 7; an id names files"),
        ('id: "01-02"', 'shots[1]: the id "01-02" is also that of shot 1 of scene 1; choose another'),
        ("forget: yes", 'shots[0].forget: found "yes"; allowed: true or false'),
        ("describe_cast: 0", "shots[0].describe_cast: found the number 0; allowed: true or false"),
        ("negative_prompt: 3", "shots[0].negative_prompt: found the number 3; a text is wanted: put it in quotes"),
        ("promt: x", "shots[0].promt: unknown field; did you mean prompt?"),
        ("continues: true", "shots[0].continues: unknown field; did you mean cut?"),
        ("length: 3", "shots[0].length: unknown field; did you mean duration?"),
        ("zzz: 3", "shots[0].zzz: unknown field; allowed: prompt, cut, id, "),
        ("seed: 1, seed: 2", "shots[0].seed: stands twice, first on line 4; keep one"),
    ],
)  # fmt: skip
def test_one_message_for_a_wrong_shot(fields: str, message: str) -> None:
    (line,) = problems(shot(fields))
    assert line.startswith(("4: ", "5: "))
    assert message in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shots: [a]", "1: title: is missing; wanted: the title of the film"),
        ("title: x", "1: scenes: is missing; write scenes, or shots for one scene"),
        ("title: x\nscenes: []", "2: scenes: found an empty list; at least one entry is wanted"),
        ("title: x\nshots: a", '2: shots: found "a"; a list is wanted, such as \'- Milo waves\' on a line of its own'),
        ("title: x\nscenes:\n- shots: []", "3: scenes[0].shots: found an empty list; at least one entry is wanted"),
        ("title: x\nscenes:\n- {title: y}", "3: scenes[0].shots: is missing; wanted: the shots, in order"),
        ("title: x\nshots: [a]\nscenes: [{shots: [a]}]", "2: shots: both scenes and shots are given; keep one"),
        ("title: x\nshots: ['']", "2: shots[0].prompt: found an empty text; wanted: what is to be seen in the shot"),
        ("title: x\nshots: [42]", "2: shots[0]: found the number 42; a text or fields are wanted (prompt, cut, "),
        ("title: x\nshots:\n- prmpt: a", "3: shots[0].prmpt: unknown field; did you mean prompt?"),
        ("title: x\nshots:\n- Wide shot: a hill", "3: shots[0]: found 'Wide shot: a hill', no field here; if it is a text, put it in quotes"),
        ("title: 1984\nshots: [a]", "1: title: found the number 1984; a text is wanted: put it in quotes"),
        ("title: a: b\nshots: [a]", "1: not valid YAML: mapping values are not allowed here; a text with a colon"),
        ("title: x\n\tshots: [a]", "2: not valid YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs"),
        ("title: x\nshots: [a", "2: not valid YAML: expected ',' or ']', but got the end of the file"),
        ("title: x\ntitle: y\nshots: [a]", "2: title: stands twice, first on line 1; keep one"),
        ("title: x\nshots: [a]\n---\ntitle: y", "3: a second document begins here"),
        ("title: x\nshots: [a]\ntitel: y", "3: titel: unknown field; did you mean title?"),
        ("title: x\nshots: [a]\n1: y", "3: found 1 as the name of a field; a name is a text: put it in quotes"),
        ("title: x\nshots: [a]\n[1]: y", "3: found a list or mapping as the name of a field"),
        ("title: x\nshots: !!python/object:os.system [a]", "2: found the tag tag:yaml.org,2002:python/object:os"),
        ("title: x\nshots: [*a]", "2: *a refers to nothing before it"),
        ("title: x\nshots: &a [*a]", "2: *a refers to nothing before it"),
        ('title: "a\\0b"\nshots: [a]', "1: title: found the character U+0000, which no text may have; take it out"),
        ('title: "a\\uD800"\nshots: [a]', "1: title: found the character U+D800, which no text may have; take it out"),
        ("title: a\x07\nshots: [a]", "1: found the character U+0007, which no text may have; take it out"),
        ("- a\n- b", "1: found a list of 2; fields are wanted (title, overview, cast, defaults, scenes, shots)"),
        ("Once upon a time", '1: found "Once upon a time"; fields are wanted (title, '),
        ("story_name: x\nstory_overview: y\nscenes: []", "1: story_name belongs to the ST-Bench form, which is JSON"),
        ("", " the file is empty; a script needs at least a title and one shot"),
        ("# nothing\n", " the file is empty"),
        ("title: x\nshots: [a]\ncast: Mara", '3: cast: found "Mara"; names are wanted, each with its fields'),
        ("title: x\nshots: [a]\ncast: [Mara]", "3: cast: found a list of 1; names are wanted, each with its fields (description, references, portrait, called), such as 'Milo: a fox' on a line of its own"),
        ("title: x\nshots: [a]\ncast: {Mara: 3}", "3: cast.Mara: found the number 3; a text or fields are wanted (description, "),
        ("title: x\nshots: [a]\ncast: {Mara: {portrait: true}}", "3: cast.Mara.portrait: found true; nothing says what to show: add a description, or give the prompt"),
        ("title: x\nshots: [a]\ncast: {Mara: {portrait: Yes}}", "3: cast.Mara.portrait: found true; nothing says what to show"),
        ("title: x\nshots: [a]\ncast: {Mara: {called: [a, the girl]}, Tom: {called: The girl}}", '3: cast.Tom.called: found "The girl"; that is Mara already, and a prompt with it could mean either'),
        ("title: x\nshots: [a]\ncast: {Mara: {called: tom}, Tom: b}", '3: cast.Mara.called: found "tom"; that is Tom already'),
        ("title: x\nshots: [a]\ncast: {Mara: {called: [' ']}}", "3: cast.Mara.called: found a list of 1; a name, or a list of names, is wanted, each with a letter in it"),
        ("title: x\nshots: [a]\ncast: {Mara: {called: 5}}", "3: cast.Mara.called: found the number 5; a name, or a list of names, is wanted"),
        ("title: x\nshots: [a]\ncast: {Mara: {portrait: '...'}}", '3: cast.Mara.portrait: found "..."; allowed: true, false, or the prompt of the portrait'),
        ("title: x\ncast: {Mara: b}\nshots:\n- {prompt: a, shows: [Marra]}", '4: shots[0].shows[0]: found "Marra"; the cast is Mara'),
        ("title: x\nshots:\n- {prompt: a, shows: [Mara]}", '3: shots[0].shows[0]: found "Mara"; the script has no cast'),
        ("title: x\nshots: [a]\ncast: {Mara: {portrait: 3}}", "3: cast.Mara.portrait: found the number 3; allowed: true, false, or the prompt of the portrait"),
        ("title: x\nshots: [a]\ncast: {Mara: }", "3: cast.Mara: found nothing; write a value"),
        ("title: x\nshots: [a]\ncast: {' Mara': a}", '3: cast[" Mara"]: the name is empty, over 80 characters'),
        ("title: x\nshots: [a]\ncast: {Old Tom: {looks: a}}", "cast[\"Old Tom\"]: found 'looks: a', no field here"),
        ("title: x\nshots: [a]\ncast: {Zoë: a, Zoe\u0308: b}", "stands twice, typed in two ways that look alike"),
        ("title: x\nshots: [a]\ndefaults: {width: 100}", "3: defaults.width: found the number 100; it must be a multiple of 16, such as 96 or 112"),
        ("title: x\nshots: [a]\ndefaults: {solver: uni}", "3: defaults.solver: found \"uni\"; allowed: 'unipc', 'dpm++' or 'euler'"),
        ("title: x\nshots: [a]\ndefaults: {shift: .nan}", "3: defaults.shift: found the number nan; an ordinary number is wanted"),
        ("title: x\nshots: [a]\ndefaults: {guidance_scale: 0.5}", "3: defaults.guidance_scale: found the number 0.5; it must be at least 1"),
        ("title: x\nshots: [a]\ndefaults: {memory: {capacity: 2}}", "3: defaults.memory: memory sink is 3; it must be between 0 and the capacity (2)"),
        ("title: x\nshots: [a]\ndefaults: {memory: {sink: 20}}", "3: defaults.memory: memory sink is 20"),
        ("title: x\nshots: [{prompt: a, duration: 600}]\ndefaults: {fps: 60}", "2: shots[0].duration: is 36001 frames at 60 per second"),
        (f"title: x\nshots: [{{prompt: a, duration: 3}}]\ndefaults: {{fps: {'9' * 320}}}", "3: defaults.fps: found the number 9"),
        ("title: x\nshots: [a]\ndefaults: {steps: 3}", "3: defaults.steps: unknown field; did you mean num_inference_steps?"),
    ],
)  # fmt: skip
def test_one_message_for_a_wrong_film(text: str, message: str) -> None:
    (line,) = problems(text)
    assert message in line


def test_all_mistakes_come_at_once_in_file_order() -> None:
    lines = problems(
        """\
        titel: x
        cast:
          Mara: {references: gone.png}
        shots:
          - prompt: a
            cut: maybe
            id: same
          - {prompt: b, id: same, sed: 3}
        defaults: {fps: fast}
        """,
        Path("/"),
    )
    assert [line.split(" found")[0].split(" unknown")[0].split(" the id")[0] for line in lines] == [
        "1: titel:",
        "3: cast.Mara.references:",
        "6: shots[0].cut:",
        "8: shots[1].sed:",
        "8: shots[1].id:",
        "9: defaults.fps:",
    ]


def test_anchors_may_be_used_but_not_to_blow_up() -> None:
    story = read("title: x\nshots:\n- &first {prompt: &p a, seed: 1}\n- *first\n- *p\n- {prompt: *p, cut: no}")
    assert [(s.prompt, s.seed, s.cut) for s in story.shots] == [
        ("a", 1, True),
        ("a", 1, True),
        ("a", None, True),
        ("a", None, False),
    ]
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    assert problems(laughs) == [
        " has more than 200,000 values once its aliases are written out; a script needs far fewer"
    ]
    tower = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 5000))
    (line,) = problems(tower)
    assert "is nested more than 32 deep" in line


def test_deep_nesting_is_one_mistake() -> None:
    for text in ("[" * 100_000, "a: " + "{a: " * 100_000, "- " * 5000 + "a"):
        (line,) = problems(text)
        assert "is nested more than 32 deep" in line


# Reference images


@pytest.mark.parametrize(
    "reference",
    [
        "../mara.png",
        "/etc/passwd",
        "a/../../mara.png",
        "..\\mara.png",
        "C:/mara.png",
        "C:mara.png",
        "~/mara.png",
        "link/mara.png",
    ],
)
def test_references_stay_inside_the_folder(tmp_path: Path, reference: str) -> None:
    (tmp_path / "mara.png").write_bytes(b"")
    folder = tmp_path / "film"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (line,) = problems(f"title: x\nshots: [a]\ncast: {{Mara: {{references: ['{reference}']}}}}", folder)
    assert line.startswith("3: cast.Mara.references[0]: found ")
    assert "a reference is a path inside the script's folder" in line


def test_references_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for name in ("gone.png", "folder.png", "x" * 5000, "a\tb"):
        (line,) = problems(f'title: x\nshots: [a]\ncast: {{Mara: {{references: "{name}"}}}}', tmp_path)
        assert f"; there is no such file in {tmp_path}" in line
    (line,) = problems("title: x\nshots: [a]\ncast: {Mara: {references: [a.png]}}", None)
    assert "a script without a folder of its own cannot have reference images" in line


# Files


def test_the_examples_are_good_films() -> None:
    names = {path.name: load_story(path) for path in EXAMPLES.glob("*.yaml")}
    assert {"first_film.yaml", "lighthouse.yaml", "two_foxes.yaml"} <= set(names)
    assert len(names["first_film.yaml"].shots) == 4
    assert len(names["lighthouse.yaml"].cast) == 2
    for story in names.values():
        assert any(not s.cut for s in story.shots)
        assert {name for s in story.shots for name in s.characters} == {c.name for c in story.cast}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", None, "there is no such file"),
        ("a.txt", b"title: x", "ends in .txt; the name of a script ends in .yaml, .yml, .json, .json5"),
        ("script", b"title: x", "has no ending"),
        ("a.yaml", b"title: x\nshots: [caf\xe9]", ":2: is not UTF-8 text: found the byte 0xE9; save it as UTF-8 in your editor"),
        ("a.json", "{}".encode("utf-16"), ":1: is not UTF-8 text"),
        ("a.yaml", b"PK\x03\x04\x14\x00\x06\x00", "is a zip archive or a document of a word processor (.docx, .odt), whatever its"),
        ("a.json", b"%PDF-1.7\n%\xe2\xe3", "is a PDF, whatever its name ends in; save the script as plain text"),
        ("a.json", b"", "the file is empty"),
        ("a.yaml", b"#" * (4 * 1024**2 + 1), "is over 4 megabytes"),
    ],
)  # fmt: skip
def test_files_that_are_no_scripts(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ScriptError) as caught:
        load_story(path)
    (line,) = caught.value.lines()
    assert line.startswith(str(path))
    assert message in line


def test_folders_and_pipes_are_no_scripts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(ScriptError, match="this is a folder"):
        load_story(tmp_path / "a.yaml")
    film = tmp_path / "owl"
    film.mkdir()
    with pytest.raises(ScriptError, match="this is a folder; give the script file in it"):
        load_story(film)
    for name in ("film.json", "script.json"):
        (film / name).touch()
    with pytest.raises(
        ScriptError, match=re.escape(f"go on with it by `storymem generate {film}/script.json -o {film}`")
    ):
        load_story(film)
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "b.yaml")
    with pytest.raises(ScriptError, match="no ordinary file"):
        load_story(tmp_path / "b.yaml")
    with pytest.raises(ScriptError, match=r"cannot be read|no such file"):
        load_story(tmp_path / ("x" * 5000 + ".yaml"))


def test_marks_and_line_ends_of_other_systems(tmp_path: Path) -> None:
    path = tmp_path / "a.YML"
    path.write_bytes("\ufefftitle: x\r\nshots:\r\n- é\r\n- {cut: maybe, prompt: a}\r\n".encode())
    with pytest.raises(ScriptError, match=r"a\.YML:4: shots\[1\]\.cut"):
        load_story(path)


def test_the_form_follows_the_name_or_the_first_character() -> None:
    stbench = '{"story_name": "x", "story_overview": "", "scenes": [{"video_prompts": ["a"], "cut": [true]}]}'
    assert parse_story(stbench, "text", None).title == "x"
    assert parse_story("// c\n" + stbench, "text", None).title == "x"
    assert parse_story("title: y\nshots: [a]", "text", None).title == "y"
    assert parse_story('{"title": "y", "shots": ["a"]}', "a.yml", None).title == "y"
    assert parse_story('{"title": "y", "shots": ["a"]}', "text", None, form="yaml").title == "y"


def test_a_backslash_that_makes_a_nul_is_no_traceback(tmp_path: Path) -> None:
    script = tmp_path / "nul.yaml"
    script.write_text(
        'title: T\ncast: {Mara: {description: a girl, references: "pics\\01.png"}}\nshots: [Mara.]\n', encoding="utf-8"
    )
    with pytest.raises(ScriptError, match=r"character U\+0000"):
        load_story(script)
