from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from storymem.cli.script import app
from storymem.errors import ScriptError, StorageError
from storymem.media import write_png
from storymem.settings import SamplingConfig
from storymem.story import load_story
from storymem.story.schema import json_schema

EXAMPLES = Path(__file__).parents[2] / "examples"
KITE = Path(__file__).parents[1] / "data" / "scripts" / "kite.json"


def script(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.yaml"
    path.write_text("titel: x\nshots:\n- {prompt: a, cut: maybe}\n", encoding="utf-8")
    return path


def test_check_says_what_is_in_a_script() -> None:
    result = script("check", EXAMPLES / "lighthouse.yaml")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:3] == [
        f"{EXAMPLES / 'lighthouse.yaml'}: The Lighthouse",
        "  3 scenes, 10 shots, about 48.4 seconds",
        "  cast: Mara, Old Tom",
    ]
    lines = result.stdout.splitlines()
    assert "  scene 2: The keeper" in lines
    assert any(line.startswith("    01-02      continues   5.1 s  Mara stops and looks up") for line in lines)
    assert any(line.startswith("    dark-lamp  cut         4.1 s  The white lighthouse") for line in lines)


def test_check_goes_through_all_files_and_fails_at_the_end(wrong: Path, tmp_path: Path) -> None:
    result = script("check", wrong, KITE, tmp_path / "gone.yaml")
    assert result.exit_code == 2
    assert result.stdout.startswith(f"{KITE}: The Kite\n  2 scenes, 3 shots")
    assert result.stderr.splitlines() == [
        f"{wrong}:1: titel: unknown field; did you mean title?",
        f'{wrong}:3: shots[0].cut: found "maybe"; '
        "allowed: true (begins with a cut) or false (continues the shot before)",
        f"{tmp_path / 'gone.yaml'}: there is no such file; `storymem script new` writes one to start from",
    ]


def test_check_tells_what_may_not_be_meant(tmp_path: Path) -> None:
    path = tmp_path / "film.yaml"
    path.write_text("title: T\ncast: {Milo: a fox}\nshots: [Mlo waves.]\n", encoding="utf-8")
    result = script("check", path)
    assert result.exit_code == 0
    note = 'no prompt names Milo of the cast (shot 01-01 has "Mlo"); what the cast says of Milo reaches no shot.'
    assert result.stdout.splitlines()[-1] == f"  note: {note}"
    assert json.loads(script("check", "--json", path).stdout)[0]["notes"] == [note]


def test_check_for_machines(wrong: Path) -> None:
    result = script("check", "--json", EXAMPLES / "two_foxes.yaml", wrong)
    assert result.exit_code == 2
    assert result.stderr == ""
    good, bad = json.loads(result.stdout)
    assert (good["ok"], good["title"], good["scenes"], good["fps"], good["problems"]) == (True, "Two Foxes", 2, 16, [])
    assert [shot["id"] for shot in good["shots"]] == ["01-01", "01-02", "meeting", "01-04", "summer", "02-02", "02-03"]
    assert good["shots"][0]["prompt"].startswith("Ember, a small red fox")
    # Seven shots of 4 s = 65 frames but one of 3 s = 49; two continue, and their first frame is the last one before.
    assert good["seconds"] == round((6 * 65 + 49 - 2) / 16, 3)
    assert (bad["ok"], bad["file"]) == (False, str(wrong))
    assert bad["problems"][0] == {"line": 1, "field": "titel", "message": "unknown field; did you mean title?"}


def test_check_counts_with_the_films_own_frames_per_second(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "title: x\ndefaults: {fps: 24, num_frames: 25}\nshots: [a, {prompt: b, duration: 2}]", encoding="utf-8"
    )
    (report,) = json.loads(script("check", "--json", path).stdout)
    assert [shot["num_frames"] for shot in report["shots"]] == [25, 49]
    assert report["seconds"] == round(74 / 24, 3)


@pytest.mark.parametrize("name", ["film.yaml", "film.yml", "film.json", "film.json5"])
def test_new_writes_a_script_that_passes_the_check(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    title = 'The "End": 50% of #1 \\ \N{FOX FACE}'
    result = script("new", path, "--title", title)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Wrote {path}. ")
    assert load_story(path).title == title
    assert script("check", path).exit_code == 0
    if name == "film.json":
        assert json.loads(path.read_text(encoding="utf-8"))["story_name"] == title


def test_new_writes_film_yaml_here_and_overwrites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert script("new").exit_code == 0
    story = load_story(tmp_path / "film.yaml")
    assert [character.name for character in story.cast] == ["Milo", "Zora"]
    assert [shot.cut for shot in story.shots] == [True, False, True, True]
    (tmp_path / "film.yaml").write_text("mine", encoding="utf-8")
    result = script("new")
    assert isinstance(result.exception, ScriptError)
    assert str(result.exception) == "film.yaml: exists and is not overwritten; choose another name"
    assert (tmp_path / "film.yaml").read_text(encoding="utf-8") == "mine"


def test_new_prints_to_the_terminal() -> None:
    assert script("new", "-", "--title", "x").stdout.splitlines()[2] == 'title: "x"'
    assert '"story_name": "x"' in script("new", "-", "--title", "x", "--form", "st-bench").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["film.txt"], "the name of such a script ends in .yaml, .yml, .json or .json5"),
        (["film.yaml", "--form", "st-bench"], "the name of such a script ends in .json or .json5"),
        (["film.json", "--form", "yaml"], "the name of such a script ends in .yaml or .yml"),
        (["none/film.yaml"], "there is no folder none; make it first"),
        (["film.yaml", "--title", " "], "title: found an empty text; wanted: the title of the film"),
    ],
)
def test_new_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = script("new", *arguments)
    assert isinstance(result.exception, ScriptError)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_to_write_is_a_storage_error(tmp_path: Path) -> None:
    result = script("new", tmp_path / ("x" * 300 + ".yaml"))
    assert isinstance(result.exception, StorageError)


def test_convert_writes_no_script_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    write_png(tmp_path / "pictures" / "tom.png", np.full((8, 8, 3), 200, np.uint8))
    (tmp_path / "film.yaml").write_text(
        "title: a\ncast: {Tom: {references: [pictures/tom.png]}}\nscenes: [{shots: [Tom smiles.]}]\n", encoding="utf-8"
    )
    (tmp_path / "other").mkdir()
    error = script("convert", tmp_path / "film.yaml", tmp_path / "other" / "film.yaml").exception
    assert isinstance(error, ScriptError)
    assert "cast.Tom" in str(error)
    assert "copy it there" in str(error)
    assert not list((tmp_path / "other").iterdir())
    assert script("convert", tmp_path / "film.yaml", tmp_path / "same.yaml").exit_code == 0
    assert load_story(tmp_path / "same.yaml").cast == load_story(tmp_path / "film.yaml").cast


def test_convert_keeps_the_story(tmp_path: Path) -> None:
    out = tmp_path / "kite.yaml"
    assert script("convert", KITE, out).stdout == f"Wrote {out}: 3 shots.\n"
    assert replace(load_story(out), source=None) == replace(load_story(KITE), source=None)
    assert isinstance(script("convert", KITE, out).exception, ScriptError)
    assert "ends in .yaml or .yml" in str(script("convert", KITE, tmp_path / "kite.json").exception)
    assert list(tmp_path.iterdir()) == [out]


def test_convert_keeps_durations_in_seconds(tmp_path: Path) -> None:
    """A converted script must fit another frame rate as the first one did."""
    given, out = tmp_path / "given.yaml", tmp_path / "out.yaml"
    given.write_text("title: x\ndefaults: {duration: 3}\nshots: [a, {prompt: b, duration: 1.5}]", encoding="utf-8")
    script("convert", given, out)
    assert replace(load_story(out), source=None) == replace(load_story(given), source=None)
    assert [shot.frames(SamplingConfig(fps=24, num_frames=5)) for shot in load_story(out).shots] == [5, 37]


@pytest.mark.parametrize("form", ["yaml", "st-bench"])
def test_schema_is_printed(form: str) -> None:
    assert json.loads(script("schema", "--form", form).stdout) == json_schema(form)
    assert json.loads(script("schema").stdout) == json_schema("yaml")


def test_check_counts_what_the_model_of_the_script_makes(tmp_path: Path) -> None:
    path = tmp_path / "film.yaml"
    for model, seconds in (("", 2 * 25 / 16), ("defaults: {model: wan2.2-i2v-a14b}\n", 2 * 81 / 16)):
        path.write_text(f"title: x\n{model}shots: [A fox runs., A fox sleeps.]\n", encoding="utf-8")
        (report,) = json.loads(script("check", "--json", path).stdout)
        assert report["seconds"] == round(seconds, 3)
