"""Pictures and video: the only place that reads or writes them (Pillow and PyAV, both imported on first use).

Inside storymem a frame is float32 ``[3, H, W]`` in [-1, 1]; in files it is eight bits per channel. The border between
the two is `to_uint8` and `from_uint8`. Every file written here appears whole or not at all (see `files`).
"""

from __future__ import annotations

from storymem.media.files import replacing, storage_errors
from storymem.media.frames import FloatArray, Uint8Array, from_uint8, resize_frame, to_uint8
from storymem.media.pictures import read_image, write_png
from storymem.media.reading import VideoInfo, probe_video, read_frames, read_video
from storymem.media.writing import Chapter, Codec, write_video

__all__ = [
    "Chapter",
    "Codec",
    "FloatArray",
    "Uint8Array",
    "VideoInfo",
    "from_uint8",
    "probe_video",
    "read_frames",
    "read_image",
    "read_video",
    "replacing",
    "resize_frame",
    "storage_errors",
    "to_uint8",
    "write_png",
    "write_video",
]
