"""Videos whose packets are copied as they are, as `ffmpeg -c copy` does: what cuts in the middle of a group leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np


def write_greys(path: Path, options: dict[str, str]) -> None:
    """Thirty frames of 64x48 at 24 a second; of all pixels of one, the value is eight times its number."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, width=64, height=48, pix_fmt="yuv420p", options=options)
        for index in range(30):
            picture = np.full((48, 64, 3), index * 8, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def copy_packets(whole: Path, cut: Path, takes: Callable[[int, Any], bool]) -> None:
    """Copy those packets that `takes(number, packet)` wants, which may change their times."""
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        before = source.streams.video[0]
        stream = target.add_stream_from_template(before)
        for number, packet in enumerate(source.demux(before)):
            if packet.dts is not None and takes(number, packet):
                packet.stream = stream
                target.mux(packet)
