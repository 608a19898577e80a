"""The comparison as numbers, sentences and a page."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from storymem.bench import plots
from storymem.bench.compare import Interval
from storymem.bench.comparison import Comparison, compare_folders, findings, uneven_stories, without_findings
from storymem.bench.encoders import BuiltinVideoEncoder
from storymem.bench.make import make_controls, write_suite
from storymem.bench.previews import load_previews
from storymem.bench.report import write_report
from storymem.bench.score import SCORES, Instruments, score_folder
from storymem.bench.suites import SuiteOptions
from storymem.errors import FilmError, SettingsError
from storymem.story import parse_story
from storymem.story.write import dump_story
from storymem.worlds.storyland.suite import StorylandSuite


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real films under the names of systems, so that there is something to find."""
    folder = tmp_path_factory.mktemp("scored")
    suite = StorylandSuite(SuiteOptions(stories=6, shots=3, width=64, height=48, num_frames=9))
    write_suite(folder, suite)
    for _ in make_controls(folder, suite, ["real", "shuffled", "noise"]):
        pass
    (folder / "real").rename(folder / "memory")
    (folder / "shuffled").rename(folder / "no-memory")
    score_folder(folder, Instruments(BuiltinVideoEncoder()))
    return folder


@pytest.fixture(scope="module")
def comparison(scored: Path) -> Comparison:
    return compare_folders([scored])


def test_what_is_real_is_said_and_controls_are_not(comparison: Comparison) -> None:
    assert comparison.baseline == "no-memory"
    assert comparison.systems == ("no-memory", "memory", "noise")
    found = findings(comparison)
    assert any(way == "up" and text.startswith("memory is above no-memory in Consistency") for way, text in found)
    assert not any("noise" in text for _, text in found)
    text = next(text for _, text in found if "Consistency, all pairs" in text)
    assert re.search(r"\+0\.\d{3}, \+\d+\.\d% \(95 % \+0\.\d{3} to \+0\.\d{3}; 6 of 6 stories; p = 0\.031\)", text)


def test_nothing_is_said_to_differ_only_where_systems_were_compared(comparison: Comparison) -> None:
    assert "No system differs" in without_findings(comparison)
    for alone in (replace(comparison, baseline="noise"), replace(comparison, systems=("no-memory", "noise"))):
        assert "Controls are no systems" in without_findings(alone)
        assert not [text for _, text in findings(alone) if "above" in text or "below" in text]


def test_the_page_needs_nothing_else_and_has_all(comparison: Comparison, scored: Path, tmp_path: Path) -> None:
    data, page = write_report(comparison, tmp_path / "report", load_previews([scored], 2), sheets=2)
    text = page.read_text(encoding="utf-8")
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "<script" not in text
    assert text.count("data:image/jpeg;base64,") == 2 * 3 * 3  # stories, systems, shots
    assert "builtin-video-1" in text
    assert "Prompt following is not measured" in text
    assert "The first 2 of 6 stories" in text
    for svg in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        ElementTree.fromstring(svg)
    values = json.loads(data.read_text(encoding="utf-8"))
    assert values["instruments"]["encoder"]["name"] == "builtin"
    assert values["rows"]["consistency_all"]["memory"]["value"]["count"] == 6
    assert {metric["key"] for metric in values["metrics"]} == {key for key, rows in values["rows"].items() if rows}


def test_prompts_cannot_break_the_page(scored: Path, tmp_path: Path) -> None:
    evil = tmp_path / "films"
    story = evil / "a<b" / "s"
    story.mkdir(parents=True)
    for path in (scored / "memory" / "story-0000").glob("*.mkv"):
        (story / path.name).write_bytes(path.read_bytes())
    script = "title: A\nscenes:\n  - shots: ['<script>alert(1)</script>', 'b & c', d]\n"
    (evil / "stories" / "s").mkdir(parents=True)
    (evil / "stories" / "s" / "script.yaml").write_text(script)
    score_folder(evil, Instruments(BuiltinVideoEncoder()))
    _, page = write_report(compare_folders([evil]), tmp_path / "report", load_previews([evil], 1))
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "a&lt;b" in text


def test_folders_can_be_put_together(scored: Path, tmp_path: Path) -> None:
    other = tmp_path / "theirs"
    story = other / "memory" / "story-0001"
    story.mkdir(parents=True)
    for path in (scored / "memory" / "story-0001").glob("*.mkv"):
        (story / path.name).write_bytes(path.read_bytes())
    score_folder(other, Instruments(BuiltinVideoEncoder()))
    both = compare_folders([scored, other])
    assert "theirs/memory" in both.systems
    assert ("theirs/memory", "story-0001") in load_previews([scored, other], 3)


def relabelled(scored: Path, folder: Path, systems: dict[str, str]) -> Path:
    """A folder with nothing but scores, in which systems have other names."""
    scores = json.loads((scored / SCORES).read_text())
    scores["systems"] = {new: scores["systems"][old] for old, new in systems.items()}
    folder.mkdir(parents=True)
    (folder / SCORES).write_text(json.dumps(scores))
    return folder


def test_systems_of_folders_that_are_called_alike_all_stay(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"memory": "mine"}
    folders = [relabelled(scored, tmp_path / name / "bench", names) for name in ("x", "y", "z")]
    assert set(compare_folders(folders).systems) == {"mine", "y/bench/mine", "z/bench/mine"}
    for folder, source in zip(folders, ("no-memory", "memory", "noise"), strict=True):
        (folder / "mine").symlink_to(scored / source)
    previews = load_previews(folders, 1)
    pictures = [previews[name, "story-0000"][0].tobytes() for name in ("mine", "y/bench/mine", "z/bench/mine")]
    assert len(set(pictures)) == 3  # to each name its own
    monkeypatch.chdir(folders[1])
    assert "y/bench/mine" in compare_folders([folders[0], Path()]).systems
    with pytest.raises(SettingsError, match="is given twice"):
        compare_folders([folders[1], Path()])


def test_controls_of_every_folder_are_controls(scored: Path, tmp_path: Path) -> None:
    systems = {"no-memory": "no-memory", "memory": "real", "noise": "noise"}
    both = compare_folders([relabelled(scored, tmp_path / name, systems) for name in ("one", "two")])
    assert both.systems == ("no-memory", "two/no-memory", "real", "two/real", "noise", "two/noise")
    assert both.controls == set(both.systems[2:])
    assert both.to_json()["controls"] == list(both.systems[2:])
    assert "No system differs" in without_findings(both)
    assert not findings(both)
    _, page = write_report(both, tmp_path / "report", {})
    assert "2 systems and 4 controls" in page.read_text(encoding="utf-8")


def test_means_and_the_best_are_over_the_stories_that_all_systems_have(scored: Path, tmp_path: Path) -> None:
    folder = relabelled(scored, tmp_path / "films", {"memory": "ours", "no-memory": "theirs", "noise": "noise"})
    scores = json.loads((folder / SCORES).read_text())
    ours, theirs = (scores["systems"][name] for name in ("ours", "theirs"))
    for index, name in enumerate(sorted(ours)):
        ours[name]["numbers"]["setting"] = 0.2 if index == 5 else 0.55
        theirs[name]["numbers"]["setting"] = 0.1 if index == 5 else 0.5
    (folder / SCORES).write_text(json.dumps(scores))
    assert uneven_stories(compare_folders([folder])) is None
    del theirs["story-0005"]  # it failed on the hardest, without which ours would be the worse one
    (folder / SCORES).write_text(json.dumps(scores))
    both = compare_folders([folder])
    assert [one.mean for one in (both.value("setting", "ours"), both.value("setting", "theirs")) if one] == [0.55, 0.5]
    assert both.to_json()["rows"]["setting"]["ours"]["own"]["count"] == 6
    assert both.to_json()["stories"]["setting"] == [f"story-000{index}" for index in range(5)]
    said = "means are over the 5 of 6 stories that all systems have"
    assert said in (uneven_stories(both) or "")
    _, page = write_report(both, tmp_path / "report", {})
    text = page.read_text(encoding="utf-8")
    assert said in text
    row = next(row for row in re.findall(r"<tr>.*?</tr>", text) if ">Setting<" in row)
    assert re.findall(r'<td class="(.*?)">', row) == ["best", ""]


def test_where_no_story_is_shared_none_is_called_best(scored: Path, tmp_path: Path) -> None:
    folder = relabelled(scored, tmp_path / "films", {"memory": "ours", "no-memory": "theirs", "noise": "noise"})
    scores = json.loads((folder / SCORES).read_text())
    for name, kept in (("ours", "012"), ("theirs", "34"), ("noise", "5")):
        scores["systems"][name] = {f"story-000{n}": scores["systems"][name][f"story-000{n}"] for n in kept}
    (folder / SCORES).write_text(json.dumps(scores))
    apart = compare_folders([folder])
    assert (uneven_stories(apart) or "").startswith("Systems share no story")
    _, page = write_report(apart, tmp_path / "report", {})
    assert 'class="best"' not in page.read_text(encoding="utf-8")
    theirs = scores["systems"]["theirs"]
    theirs["story-0000"] = {**theirs["story-0003"]}
    (folder / SCORES).write_text(json.dumps(scores))
    said = uneven_stories(compare_folders([folder])) or ""
    assert "over the 1 of 6 stories that all systems have" in said
    assert "; controls are over what they have of these" in said


def test_other_stories_of_the_same_name_are_not_compared(scored: Path, tmp_path: Path) -> None:
    """Those of Storyland are named by their seeds, whatever their number of shots, heroes and place in the list."""

    def scripts(folder: Path, **options: int) -> Path:
        write_suite(folder, StorylandSuite(SuiteOptions(**options)))
        return folder

    first = scripts(relabelled(scored, tmp_path / "first", {"memory": "mine"}), stories=6, shots=3)
    same = scripts(relabelled(scored, tmp_path / "same", {"memory": "mine"}), stories=6, shots=3)
    assert compare_folders([first, same]).systems == ("mine", "same/mine")
    moved = scripts(relabelled(scored, tmp_path / "moved", {"memory": "mine"}), stories=6, shots=3, seed=1)
    with pytest.raises(
        FilmError, match=r"first and .*moved: story-0001 is not the same story .*give one of the stories"
    ):
        compare_folders([first, moved])
    story = parse_story((first / "stories" / "story-0000" / "script.yaml").read_text(), "script.yaml", None)
    (same / "stories" / "story-0000" / "script.yaml").write_text("# in another form\n" + dump_story(story))
    assert compare_folders([first, same]).systems == ("mine", "same/mine")


def test_stories_of_other_lengths_are_not_compared(scored: Path, tmp_path: Path) -> None:
    folders = [relabelled(scored, tmp_path / name, {"memory": "mine"}) for name in ("one", "two", "three")]
    scores = json.loads((folders[2] / SCORES).read_text())
    scores["systems"]["mine"]["story-0002"]["shots"].pop()
    (folders[2] / SCORES).write_text(json.dumps(scores))
    assert compare_folders(folders[:2])
    with pytest.raises(
        FilmError, match=r"one and .*three: story-0002 is not .* 3 shots in the first and 2 in the second"
    ):
        compare_folders(folders)


def test_a_clip_that_came_after_scoring_is_told(scored: Path, tmp_path: Path) -> None:
    folder = relabelled(scored, tmp_path / "films", {"memory": "mine"})
    for story in (scored / "memory").iterdir():
        shutil.copytree(story, folder / "mine" / story.name)
    assert load_previews([folder], 1)
    story = folder / "mine" / "story-0000"
    shutil.copy(story / "01.mkv", story / "04.mkv")
    with pytest.raises(FilmError, match="has 4 shots, and had 3 when it was scored: run `storymem bench score"):
        load_previews([folder], 1)


def test_without_contact_sheets_scores_are_enough(scored: Path, tmp_path: Path) -> None:
    folder = relabelled(scored, tmp_path / "films", {"memory": "mine", "no-memory": "theirs"})
    assert not load_previews([folder], 0)


def test_numbers_of_other_instruments_are_not_compared(scored: Path, tmp_path: Path) -> None:
    scores = json.loads((scored / SCORES).read_text())
    scores["instruments"]["encoder"]["identity"] = "another"
    (tmp_path / SCORES).write_text(json.dumps(scores))
    with pytest.raises(FilmError, match="measured with another encoder"):
        compare_folders([scored, tmp_path])


def test_an_unknown_baseline_is_told(scored: Path) -> None:
    with pytest.raises(SettingsError, match="--baseline magic: there are memory, no-memory, noise"):
        compare_folders([scored], "magic")


@pytest.mark.parametrize("values", [(0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (-0.2, -0.1, 0.3), (1e-6, 0, 2e-6), (40, 30, 55)])
def test_plots_are_drawn_for_any_numbers(values: tuple[float, float, float]) -> None:
    one = Interval(*values, count=3)
    drawn = [
        plots.dots([("a", "#000", one), ("b<", "#111", one)], title="t & u"),
        plots.curves([("a", "#000", list(values)), ("b", "#111", [])], labels=("x", "y"), title="t"),
        plots.scatter({"a": ("#000", values[:2]), "b": ("#111", values[1:])}, labels=("x", "y"), title="t"),
        plots.heat(np.clip(np.eye(3) + values[0], 0, 1).tolist(), "#000", title="t"),
    ]
    for svg in drawn:
        ElementTree.fromstring(svg)
        assert "nan" not in svg
