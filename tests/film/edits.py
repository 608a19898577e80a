"""Small films with known pixels for the tests of what comes out of a film."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from storymem.film.edit import Edit, EditShot, MemoryPicture
from storymem.media import from_uint8, write_video

PROMPT = 'Mara <the keeper> & "her" gull: 猫 and rain,\nfalling on the lighthouse'


def pixels(shot: int, count: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Frames that say which they are: red is the shot, green the frame, blue a gradient."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[..., 0] = (40 + shot * 30) % 256
    frames[..., 1] = (np.arange(count) * 8)[:, None, None]
    frames[..., 2] = np.linspace(0, 200, width)
    return frames


def make_edit(
    folder: Path,
    lengths: Sequence[tuple[int, int]] = ((9, 0), (9, 1), (13, 5), (5, 0)),
    *,
    fps: int | Fraction = 16,
    size: tuple[int, int] = (64, 48),
    title: str = "It's a <film> & more",
) -> Edit:
    """A film with shots of the given (frames, frames to drop), in scenes of two shots."""
    shots: list[EditShot] = []
    seen: list[MemoryPicture] = []
    for index, (count, drop) in enumerate(lengths):
        shot_id = f"{index // 2 + 1:02d}-{index % 2 + 1:02d}"
        master = folder / f"{shot_id}.mkv"
        frames = pixels(index, count, *size)
        write_video(master, frames, fps, codec="ffv1")
        shots.append(
            EditShot(
                id=shot_id,
                prompt=PROMPT,
                master=master,
                num_frames=count,
                drop=drop,
                scene=index // 2 + 1,
                mode={1: "mi2v", 5: "mm2v"}.get(drop, "m2v"),
                seed=1000 + index,
                memory=tuple(seen),
                keyframes=(0, count - 1),
                settings={"steps": 40},
            )
        )
        seen.append(MemoryPicture(key=shot_id, label=shot_id, load=lambda frame=frames[-1]: from_uint8(frame)))
    return Edit(title, fps, tuple(shots), {"model": "tiny", "seed": 7})
