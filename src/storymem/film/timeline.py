"""Timelines for editors: OpenTimelineIO, and EDL and FCPXML through its adapters.

The ``.otio`` file is exact: it counts in the film's own frame rate. EDL and FCPXML know only the rates of cinema and
television. A film in another rate (the method's is 16) is conformed: see `conform_rate` and `_Conformed`.
"""

from __future__ import annotations

import importlib
import math
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from storymem.errors import FilmError, MissingExtraError
from storymem.film.edit import Edit, EditShot, check_masters, clip_name, elide
from storymem.film.storage import replace_file

__all__ = ["TIMELINES", "TooShortError", "conform_rate", "write_timeline"]

TIMELINES = ("film.otio", "film.edl", "film.fcpxml")
"""The files of `write_timeline`."""

# What all three of EDL timecode, Final Cut Pro and the FCPXML adapter know.
_EDITING_RATES = (24, 25, 30, 50, 60)
_PURPOSE = "write timelines for editors"


class TooShortError(FilmError):
    """A shot is shorter than half a frame of the rate that EDL and FCPXML need."""


def write_timeline(edit: Edit, folder: Path, clips: Path) -> tuple[Path, Path, Path]:
    """Write ``film.otio``, ``film.edl`` and ``film.fcpxml``.

    One video track with one clip per shot. The media are the whole clips of `write_clips`, by relative URL, so that
    the folder can be moved; each clip's source range leaves out the frames that the film drops. The prompt, seed, mode
    and memory of a shot are in its metadata (EDL: comments, FCPXML: notes); frames that became keyframes are markers.

    Args:
        edit: the film.
        folder: where the files go; it exists.
        clips: the folder of the clips; they need not be written yet.

    Returns:
        The three files: OTIO, EDL, FCPXML.

    Raises:
        TooShortError: a shot does not last a frame in the rate of EDL and FCPXML; ``film.otio`` is written.
        MissingExtraError: OpenTimelineIO or one of its adapters is not installed.
        FilmError, FilmDamagedError: the masters are not what the edit says.
        StorageError: the operating system refused a write.
    """
    otio = _opentimelineio()
    width, height = check_masters(edit)
    media = [
        quote(Path(os.path.relpath(clips / clip_name(edit, index), folder)).as_posix())
        for index in range(len(edit.shots))
    ]
    exact_file, edl, fcpxml = (folder / name for name in TIMELINES)
    exact = _build(otio, edit, media, Fraction(edit.fps))
    replace_file(exact_file, otio.adapters.write_to_string(exact, "otio_json").encode())
    rate = conform_rate(edit.fps)
    conformed = _build(otio, edit, media, Fraction(rate))
    replace_file(edl, otio.adapters.write_to_string(conformed, "cmx_3600", rate=float(rate)).encode())
    replace_file(fcpxml, _completed(otio.adapters.write_to_string(conformed, "fcpx_xml"), width, height).encode())
    return exact_file, edl, fcpxml


def conform_rate(fps: int | Fraction) -> int:
    """The frame rate that EDL and FCPXML use for a film.

    The film's own if they know it; else the lowest that they know and that is a multiple of it, which is still exact;
    else 24, where every cut lies on the nearest frame.
    """
    return next((rate for rate in _EDITING_RATES if (rate / Fraction(fps)).denominator == 1), 24)


def _opentimelineio() -> Any:
    try:
        otio: Any = importlib.import_module("opentimelineio")  # by name: it has no types to check
    except ImportError as error:
        raise MissingExtraError("opentimelineio", "timeline", _PURPOSE) from error
    names = otio.adapters.available_adapter_names()
    for adapter, package in {"cmx_3600": "otio-cmx3600-adapter", "fcpx_xml": "otio-fcpx-xml-adapter"}.items():
        if adapter not in names:
            raise MissingExtraError(package, "timeline", _PURPOSE)
    return otio


@dataclass(frozen=True, slots=True)
class _Conformed:
    """Where a shot lies, counted in frames of another rate.

    The cuts of the film are rounded one by one to the nearest frame, so an error is half a frame at most and does not
    add up; the lengths follow from the cuts.

    Attributes:
        available: frames of the clip, rounded up, so that the used part is never beyond its end.
        start: the first frame used.
        length: the number of frames used.
    """

    available: int
    start: int
    length: int

    @classmethod
    def of(cls, shot: EditShot, film_start: int, scale: Fraction) -> _Conformed:
        length = _nearest((film_start + shot.length) * scale) - _nearest(film_start * scale)
        start = _nearest(shot.drop * scale)
        if not length:
            raise TooShortError(
                f"Shot {shot.id} has {shot.length} frame{'s' * (shot.length > 1)}, which is too short for the frame "
                "rate of the EDL and FCPXML timelines: make it longer."
            )
        return cls(max(math.ceil(shot.num_frames * scale), start + length), start, length)


def _nearest(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _build(otio: Any, edit: Edit, media: list[str], rate: Fraction) -> Any:
    """The film as an OTIO timeline that counts in `rate`."""
    scale = rate / Fraction(edit.fps)

    def span(start: int, length: int) -> Any:
        time = otio.opentime.RationalTime
        return otio.opentime.TimeRange(time(start, float(rate)), time(length, float(rate)))

    title = elide(edit.title, 200)
    timeline = otio.schema.Timeline(title)
    timeline.metadata["storymem"] = {"settings": dict(edit.settings), "fps": str(edit.fps)}
    track = otio.schema.Track("Shots", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    scene = None
    for shot, film_start, url in zip(edit.shots, edit.starts, media, strict=True):
        place = _Conformed.of(shot, film_start, scale)
        reference = otio.schema.ExternalReference(url, span(0, place.available))
        reference.metadata["fcpx"] = {"note": _printable("\n".join(_notes(shot)))}
        clip = otio.schema.Clip(shot.id, reference, span(place.start, place.length))
        clip.metadata["storymem"] = {
            "prompt": shot.prompt,
            "scene": shot.scene,
            "mode": shot.mode,
            "seed": shot.seed,
            "dropped_frames": shot.drop,
            "memory": [picture.label for picture in shot.memory],
            "keyframes": list(shot.keyframes),
            "settings": dict(shot.settings),
        }
        clip.metadata["cmx_3600"] = {
            # Eight characters are what every reader of EDL takes.
            "reel": f"SHOT{len(track) + 1:04d}",
            "comments": [_printable(elide(line, 120)) for line in _notes(shot)],
        }
        for frame in shot.keyframes:
            at = _nearest(frame * scale)
            if place.start <= at < place.start + place.length:
                clip.markers.append(otio.schema.Marker("keyframe", span(at, 1), color="GREEN"))
        if shot.scene != scene:
            scene = shot.scene
            at = _nearest(film_start * scale)
            timeline.tracks.markers.append(otio.schema.Marker(f"Scene {scene}", span(at, 1), color="BLUE"))
        track.append(clip)
    return timeline


def _notes(shot: EditShot) -> list[str]:
    """What an editor wants to read beside the clip."""
    notes = [f"PROMPT: {elide(shot.prompt, 2000)}", f"SCENE: {shot.scene}"]
    if shot.mode:
        notes.append(f"MODE: {shot.mode}")
    if shot.seed is not None:
        notes.append(f"SEED: {shot.seed}")
    return notes


def _printable(text: str) -> str:
    """Without the control characters that XML has no way to write."""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")


def _completed(fcpxml: str, width: int, height: int) -> str:
    """What the adapter leaves open: the picture size, and names and ids that must not be empty."""
    root = ElementTree.fromstring(fcpxml)  # noqa: S314 (we have just written it)
    for element in root.iter("format"):
        element.attrib.pop("name", None)
        element.set("width", str(width))
        element.set("height", str(height))
    for element in root.iter("project"):
        if not element.get("uid"):
            element.attrib.pop("uid", None)
    ElementTree.indent(root, "    ")
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'
