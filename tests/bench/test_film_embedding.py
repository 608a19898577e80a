"""A whole film as one vector, with an encoder that knows words: clips that do not go together, and frames that fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from storymem.bench.encoders import BuiltinVideoEncoder
from storymem.bench.features import embed_film
from storymem.bench.score import Instruments, score_folder
from storymem.errors import MediaError
from storymem.media import FloatArray, probe_video, read_video, write_video
from stream_copies import copy_packets, write_greys


class WordyEncoder(BuiltinVideoEncoder):
    """The built-in encoder, to which every text is the same: enough for the whole film to be asked for."""

    knows_text = True

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        length = self.encode(np.zeros((8, 3, 32, 48), np.float32)).shape[0]
        return np.full((len(texts), length), length**-0.5, np.float32)


def film(place: Path, sizes: Sequence[tuple[int, int]]) -> None:
    """Clips of these widths and heights, with a script that has an overview."""
    place.mkdir(parents=True)
    for number, (width, height) in enumerate(sizes, 1):
        base = np.random.default_rng(number).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        picture = base.repeat(8, 0).repeat(8, 1)
        write_video(place / f"{number:02d}.mp4", (np.roll(picture, index, 1) for index in range(9)), 16)
    shots = ", ".join(f"shot {number}" for number in range(len(sizes)))
    (place / "script.yaml").write_text(f"title: A\noverview: A day.\nshots: [{shots}]\n")


def test_clips_of_different_sizes_leave_only_their_film_out(tmp_path: Path) -> None:
    film(tmp_path / "theirs" / "lamp", [(64, 48), (128, 96), (64, 48)])
    film(tmp_path / "theirs" / "whole", [(64, 48), (64, 48)])
    scores = score_folder(tmp_path, Instruments(WordyEncoder()))
    assert set(scores["systems"]["theirs"]) == {"whole"}
    assert scores["systems"]["theirs"]["whole"]["numbers"]["prompt_film"] is not None
    (left,) = scores["left_out"]
    assert (left["system"], left["story"]) == ("theirs", "lamp")
    assert "02.mp4: its pictures are 128x96, those of 01.mp4 64x48" in left["reason"]
    assert left["reason"].endswith("write all clips of a film in one size.")


def test_frames_that_cannot_be_decoded_are_told(tmp_path: Path) -> None:
    """A copy from the middle, without the key frame that its first frames need and without a list that says so."""
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    write_greys(whole, {"g": "15", "sc_threshold": "0", "bf": "0"})
    copy_packets(whole, cut, lambda number, _: number >= 5)
    assert (probe_video(cut).num_frames, len(list(read_video(cut)))) == (25, 15)
    with pytest.raises(MediaError, match=r"cut\.mkv: of its 25 frames only 15 can be shown: write the video again"):
        embed_film([(cut, 0)], BuiltinVideoEncoder(), None)
