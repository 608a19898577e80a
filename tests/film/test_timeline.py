from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from edits import PROMPT, make_edit

from storymem.errors import MissingExtraError
from storymem.film.edit import clip_name, write_clips
from storymem.film.timeline import TooShortError, conform_rate, write_timeline

LENGTHS = ((9, 0), (9, 1), (13, 5), (5, 0))
otio = pytest.importorskip("opentimelineio")


def seconds(text: str) -> Fraction:
    return Fraction(text.removesuffix("s"))


def frames(time_range: object) -> tuple[float, float]:
    return time_range.start_time.value, time_range.duration.value


def test_otio_is_exact_and_its_media_are_the_clips(tmp_path: Path):
    edit = make_edit(tmp_path, LENGTHS)
    write_clips(edit, tmp_path / "clips")
    path, _, _ = write_timeline(edit, tmp_path, tmp_path / "clips")
    timeline = otio.adapters.read_from_file(str(path))
    clips = list(timeline.find_clips())
    assert timeline.name == edit.title
    assert [clip.name for clip in clips] == [shot.id for shot in edit.shots]
    assert timeline.duration() == otio.opentime.RationalTime(edit.num_frames, 16)
    for index, (clip, (count, drop)) in enumerate(zip(clips, LENGTHS, strict=True)):
        assert frames(clip.source_range) == (drop, count - drop)
        assert frames(clip.media_reference.available_range) == (0, count)
        assert clip.source_range.duration.rate == 16
        assert frames(clip.range_in_parent())[0] == edit.starts[index]
        assert clip.media_reference.target_url == f"clips/{clip_name(edit, index)}"
        assert (path.parent / unquote(clip.media_reference.target_url)).is_file()
        said = clip.metadata["storymem"]
        assert (said["prompt"], said["seed"], said["scene"]) == (PROMPT, 1000 + index, index // 2 + 1)
        assert list(said["memory"]) == [shot.id for shot in edit.shots[:index]]
        # Keyframes outside the part that is used are in the metadata but are no markers.
        assert [marker.marked_range.start_time.value for marker in clip.markers] == (
            [0, count - 1] if drop == 0 else [count - 1]
        )
    assert [(m.name, m.marked_range.start_time.value) for m in timeline.tracks.markers] == [
        ("Scene 1", 0),
        ("Scene 2", 17),
    ]


def test_edl_and_fcpxml_come_back_equal_at_a_rate_that_they_know(tmp_path: Path):
    edit = make_edit(tmp_path, LENGTHS, fps=24)
    _, edl, fcpxml = write_timeline(edit, tmp_path, tmp_path / "clips")
    for timeline in (
        otio.adapters.read_from_file(str(edl), rate=24),
        otio.adapters.read_from_file(str(fcpxml), adapter_name="fcpx_xml"),
    ):
        clips = list(timeline.find_clips())
        assert [clip.name for clip in clips] == [shot.id for shot in edit.shots]
        assert [frames(clip.source_range) for clip in clips] == [(drop, count - drop) for count, drop in LENGTHS]
        assert [frames(clip.range_in_parent())[0] for clip in clips] == list(edit.starts)
        assert timeline.duration().value == edit.num_frames


@pytest.mark.parametrize("fps", [16, 12, 15, 25, 30, 60, 7, Fraction(24000, 1001)])
def test_cuts_are_within_half_a_frame_and_do_not_drift(tmp_path: Path, fps: int | Fraction):
    edit = make_edit(tmp_path, [(9, 0), (9, 1), (13, 5), (5, 0)] * 5, fps=fps)
    _, edl, fcpxml = write_timeline(edit, tmp_path, tmp_path / "clips")
    rate = conform_rate(fps)
    cuts = [start / Fraction(fps) for start in (*edit.starts, edit.num_frames)]
    timeline = otio.adapters.read_from_file(str(edl), rate=rate)
    clips = list(timeline.find_clips())
    edl_cuts = [Fraction(int(clip.range_in_parent().start_time.value), rate) for clip in clips]
    edl_cuts.append(edl_cuts[-1] + Fraction(int(clips[-1].duration().value), rate))
    spine = ElementTree.parse(fcpxml).getroot().find("project/sequence/spine")
    fcp_cuts = [seconds(clip.get("offset")) for clip in spine]
    fcp_cuts.append(fcp_cuts[-1] + seconds(spine[-1].get("duration")))
    assert edl_cuts == fcp_cuts
    assert max(abs(is_ - wanted) for is_, wanted in zip(edl_cuts, cuts, strict=True)) <= Fraction(1, 2 * rate)
    if rate % Fraction(fps) == 0:
        assert edl_cuts == cuts
    # No clip uses more than its media have.
    assets = {asset.get("id"): seconds(asset.get("duration")) for asset in ElementTree.parse(fcpxml).iter("asset")}
    for clip in spine:
        used = seconds(clip.get("start", "0s")) + seconds(clip.get("duration"))
        assert used <= assets[clip.find("video").get("ref")]


def test_conform_rate():
    rates = {24: 24, 25: 25, 30: 30, 50: 50, 60: 60, 8: 24, 12: 24, 15: 30, 10: 30, 20: 60, 16: 24, 48: 24, 7: 24}
    assert {fps: conform_rate(fps) for fps in rates} == rates


def test_fcpxml_has_what_final_cut_asks_for(tmp_path: Path):
    edit = make_edit(tmp_path, LENGTHS)
    _, _, path = write_timeline(edit, tmp_path, tmp_path / "clips")
    text = path.read_text(encoding="utf-8")
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n<fcpxml version="1.8">')
    root = ElementTree.fromstring(text)
    formats = root.findall("resources/format")
    assert [(item.get("width"), item.get("height"), seconds(item.get("frameDuration"))) for item in formats] == [
        ("64", "48", Fraction(1, 24))
    ]
    assert [asset.get("src") for asset in root.iter("asset")] == [
        f"clips/{clip_name(edit, index)}" for index in range(4)
    ]
    assert not [element for element in root.iter() if "" in element.attrib.values()]
    note = root.find("asset-clip/note").text
    assert 'Mara <the keeper> & "her" gull: 猫' in note
    assert "SEED: 1000" in note


def test_edl_names_the_media_and_the_prompt(tmp_path: Path):
    edit = make_edit(tmp_path, LENGTHS)
    _, path, _ = write_timeline(edit, tmp_path, tmp_path / "clips")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "TITLE: It's a <film> & more"
    events = [line.split() for line in lines if line[:3].isdigit()]
    assert [event[:4] for event in events] == [[f"00{n}", f"SHOT000{n}", "V", "C"] for n in range(1, 5)]
    assert "* FROM CLIP NAME:  01-01" in lines
    assert "* FROM CLIP: clips/01_01-01.mp4" in lines
    assert sum(line.startswith("* PROMPT: Mara <the keeper>") for line in lines) == 4
    assert "* SEED: 1003" in lines


def test_long_film_and_awkward_words(tmp_path: Path):
    edit = make_edit(tmp_path, [(5, 0)], title="one\ntwo\0three'")
    shots = tuple(replace(edit.shots[0], id=f"it.s-猫-{index}", prompt="a\0b\x08 'c' ]]>") for index in range(120))
    edit = replace(edit, shots=shots)
    for path in write_timeline(edit, tmp_path, tmp_path / "cli'ps & more"):
        arguments = {"rate": 24} if path.suffix == ".edl" else {}
        adapter = {"adapter_name": "fcpx_xml"} if path.suffix == ".fcpxml" else {}
        timeline = otio.adapters.read_from_file(str(path), **adapter, **arguments)
        clips = list(timeline.find_clips())
        assert [clip.name for clip in clips] == [shot.id for shot in shots]
        assert unquote(clips[0].media_reference.target_url) == "cli'ps & more/001_it.s-猫-0.mp4"


def test_shot_that_vanishes_between_two_frames_is_refused_where_it_does(tmp_path: Path):
    edit = make_edit(tmp_path, [(1, 0), (1, 0), (1, 0), (1, 0)], fps=240)
    with pytest.raises(TooShortError, match="too short for the frame rate"):
        write_timeline(edit, tmp_path, tmp_path)
    exact = otio.adapters.read_from_file(str(tmp_path / "film.otio"))
    assert [clip.source_range.duration.value for clip in exact.find_clips()] == [1, 1, 1, 1]
    assert not (tmp_path / "film.edl").exists()


def test_same_film_same_timelines(tmp_path: Path):
    edit = make_edit(tmp_path)
    first = [path.read_bytes() for path in write_timeline(edit, tmp_path, tmp_path / "clips")]
    assert [path.read_bytes() for path in write_timeline(edit, tmp_path, tmp_path / "clips")] == first


def test_missing_packages_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    edit = make_edit(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(otio.adapters, "available_adapter_names", lambda: ["cmx_3600", "otio_json"])
        with pytest.raises(MissingExtraError, match=r"otio-fcpx-xml-adapter .*pip install 'storymem\[timeline\]'"):
            write_timeline(edit, tmp_path, tmp_path)
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(MissingExtraError, match=r"opentimelineio is needed .*pip install 'storymem\[timeline\]'"):
        write_timeline(edit, tmp_path, tmp_path)
    assert not list(tmp_path.glob("film.*"))
