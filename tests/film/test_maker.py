from __future__ import annotations

import numpy as np
import pytest
from procedural import ProceduralMaker

from storymem.film.maker import ShotRequest
from storymem.settings import SamplingConfig

SAMPLING = SamplingConfig(width=32, height=16, num_frames=9, num_inference_steps=1)
FRAME = np.zeros((3, 16, 32), dtype=np.float32)


def request(memory: int = 0, known: int = 0) -> ShotRequest:
    return ShotRequest("p", "", 1, SAMPLING, (FRAME,) * memory, np.repeat(FRAME[None], known, axis=0))


@pytest.mark.parametrize(
    ("memory", "known", "mode"),
    [(0, 0, "t2v"), (2, 0, "m2v"), (2, 1, "mi2v"), (0, 1, "mi2v"), (2, 5, "mm2v")],
)
def test_mode_follows_from_what_is_given(memory: int, known: int, mode: str) -> None:
    assert request(memory, known).mode == mode


def test_a_request_with_neither_memory_nor_known_frames_is_the_default() -> None:
    assert ShotRequest("p", "", 1, SAMPLING).mode == "t2v"


def test_shapes_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="K 0, 1 or 5"):
        request(known=3)
    with pytest.raises(ValueError, match="do not fit the size of the shot"):
        ShotRequest("p", "", 1, SAMPLING, (), np.zeros((1, 3, 32, 32), dtype=np.float32))
    with pytest.raises(ValueError, match="every keyframe"):
        ShotRequest("p", "", 1, SAMPLING, (FRAME[0],))


def test_the_maker_of_the_tests_answers_to_every_part_of_a_request() -> None:
    def frames(request: ShotRequest) -> bytes:
        return ProceduralMaker().make(request, lambda done, steps: None).tobytes()

    plain = request()
    others = [
        ShotRequest("q", "", 1, SAMPLING),
        ShotRequest("p", "ugly", 1, SAMPLING),
        ShotRequest("p", "", 2, SAMPLING),
        request(memory=1),
        request(memory=2),
        request(known=1),
    ]
    assert frames(plain) == frames(plain)
    assert len({frames(plain), *map(frames, others)}) == 7
