"""What `probe_video` counts is what `read_video` shows."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from storymem.media import probe_video, read_video


def test_frames_that_an_edit_list_cuts_off_do_not_count(tmp_path: Path) -> None:
    """As `ffmpeg -ss 0.5 -c copy` cuts: all from the key frame before, and a list that says from where to show it."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("libx264", rate=24, width=64, height=48, pix_fmt="yuv420p", options={"g": "100"})
        for index in range(30):
            picture = np.full((48, 64, 3), index * 8, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        before = source.streams.video[0]
        stream = target.add_stream_from_template(before)
        for packet in source.demux(before):
            if packet.dts is not None:
                packet.pts -= round(12 / 24 / before.time_base)
                packet.dts -= round(12 / 24 / before.time_base)
                packet.stream = stream
                target.mux(packet)
    with av.open(str(cut)) as container:
        assert sum(bool(packet.size) for packet in container.demux(video=0)) == 30  # all are in the file
    shown = list(read_video(cut))
    assert [round(int(frame[20, 20, 0]) / 8) for frame in shown] == list(range(12, 30))
    info = probe_video(cut)
    assert (info.num_frames, info.duration) == (18, 18 / 24)
