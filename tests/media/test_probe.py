"""What `probe_video` counts is what `read_video` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from storymem.media import probe_video, read_video
from stream_copies import copy_packets, write_greys


def test_frames_that_an_edit_list_cuts_off_do_not_count(tmp_path: Path) -> None:
    """As `ffmpeg -ss 0.5 -c copy` cuts: all from the key frame before, and a list that says from where to show it."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_greys(whole, {"g": "100"})

    def earlier(_: int, packet: Any) -> bool:
        for time in ("pts", "dts"):
            setattr(packet, time, getattr(packet, time) - round(12 / 24 / packet.time_base))
        return True

    copy_packets(whole, cut, earlier)
    with av.open(str(cut)) as container:
        assert sum(bool(packet.size) for packet in container.demux(video=0)) == 30  # all are in the file
    shown = list(read_video(cut))
    assert [round(int(frame[20, 20, 0]) / 8) for frame in shown] == list(range(12, 30))
    info = probe_video(cut)
    assert (info.num_frames, info.duration) == (18, 18 / 24)
