"""The shots of a video, and which of their frames become clips."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from storymem.errors import MediaError, MissingExtraError
from storymem.media import probe_video
from storymem.training.footage import FootageSettings

__all__ = ["detect_shots", "find_shots", "windows_of"]

_SHORTEST = 4  # frames of a shot that is told from its neighbours
_MARGIN = 2  # frames left out at both ends of a shot: a cut is not always where it was found
_LOOKED_BACK = 16  # frames after a cut by which it is found, at most; the detector needs two


def detect_shots(path: Path) -> list[tuple[int, int]]:
    """Shots of a video as (first frame, frame after the last), by PySceneDetect's adaptive detector.

    Raises:
        MediaError: the video cannot be read.
        MissingExtraError: PySceneDetect is not installed.
    """
    return find_shots(path)[0]


def find_shots(path: Path) -> tuple[list[tuple[int, int]], list[float]]:
    """Shots as `detect_shots` gives them, and when each frame of the video is shown, in rising seconds.

    Frames are counted as `read_video` gives them. PySceneDetect itself numbers them by time and average rate, which are
    other frames wherever the rate varies, as a phone's does.

    Raises:
        MediaError: the video cannot be read.
        MissingExtraError: PySceneDetect is not installed.
    """
    from av.error import FFmpegError

    try:
        from scenedetect import AdaptiveDetector, SceneManager, open_video
        from scenedetect.video_stream import VideoOpenFailure
    except ImportError as error:
        raise MissingExtraError("scenedetect", "train", "find the shots of a video") from error
    errors: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:  # it gave up, and what follows in the video is not looked at
            errors.append(record.getMessage())
        return False  # not shown: it does not say which video it is about

    # Short shots count: one that is overlooked would be a cut inside a clip.
    detector: Any = AdaptiveDetector(min_scene_len=_SHORTEST)
    detect, seen, starts = detector.process_frame, list[Any](), [0]

    def count(timecode: Any, picture: Any) -> Any:
        seen.append(timecode)
        cuts = detect(timecode, picture)  # at frames that it saw a moment ago
        last = range(max(0, len(seen) - _LOOKED_BACK), len(seen))
        starts.extend(index for index in last if any(seen[index] is cut for cut in cuts))
        return cuts

    detector.process_frame = count
    logger = logging.getLogger("pyscenedetect")
    logger.addFilter(hear)
    try:
        fps = probe_video(path).fps  # our own words for a file that is missing or damaged
        # Not suppressed, PyAV would hand everything that FFmpeg says to the terminal, for the rest of the process.
        video = open_video(str(path), backend="pyav", suppress_output=True)
        manager = SceneManager()
        manager.add_detector(detector)
        manager.detect_scenes(video)
    except (VideoOpenFailure, FFmpegError, OSError, ValueError) as error:  # ValueError: names in it are no UTF-8
        raise MediaError(f"{path}: the video cannot be read ({error}): write it again.") from error
    finally:
        logger.removeFilter(hear)
    if errors or not seen:
        raise MediaError(f"{path}: the video is damaged ({(errors or ['it has no frames'])[0]}): write it again.")
    times = [float(timecode.seconds) for timecode in seen]
    if any(after <= before for before, after in itertools.pairwise(times)):  # the file does not say
        times = [index / float(fps) for index in range(len(seen))]
    return list(itertools.pairwise([*starts, len(seen)])), times


def windows_of(
    first: int, end: int, times: Sequence[float], settings: FootageSettings, most: int
) -> list[tuple[int, ...]]:
    """Frames of the clips that a shot gives: at most `most`, evenly spread in time, not overlapping.

    Args:
        first: frame of the video.
        end: frame after the shot's last.
        times: when each frame of the video is shown, in rising seconds.
        settings: length and rate of a clip.
        most: clips per shot.
    """
    first, end = first + _MARGIN, end - _MARGIN
    if end - first < 2:
        return []
    # Starts are laid on a grid of the video's mean rate: where the rate is constant, a grid point is a frame.
    fps = (len(times) - 1) / (times[-1] - times[0])
    begin, stop = round(times[first] * fps), round(times[end - 1] * fps) + 1
    span = round(round((settings.num_frames - 1) * fps / settings.fps, 2)) + 1  # times are seldom exact
    count = min(most, (stop - begin) // span)
    if count < 1:
        return []
    gap = (stop - begin - count * span) / count
    starts = [begin + math.floor(gap / 2 + i * (span + gap)) for i in range(count)]
    windows: list[tuple[int, ...]] = []
    for start in starts:
        frame = min(max(round(_place(times, start / fps)), first), end - 1)
        wanted = [times[frame] + i / settings.fps for i in range(settings.num_frames)]
        # Rounded before, so that a moment half way between two frames takes the same one everywhere.
        window = [min(frame + round(round(_place(times, t) - frame, 6)), end - 1) for t in wanted]
        if not windows or window[0] > windows[-1][-1]:
            windows.append(tuple(window))
    return windows


def _place(times: Sequence[float], moment: float) -> float:
    """Where in the frames a moment lies; half way between two it is half a frame further."""
    return float(np.interp(moment, times, np.arange(len(times))))
