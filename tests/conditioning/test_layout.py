from __future__ import annotations

import pytest
import torch

from storymem.conditioning.layout import VideoLayout, num_latent_frames
from storymem.errors import SettingsError


@pytest.mark.parametrize(("frames", "latent"), [(1, 1), (5, 2), (9, 3), (81, 21)])
def test_latent_frames_are_one_and_then_one_for_four(frames: int, latent: int) -> None:
    assert num_latent_frames(frames) == latent


def test_sizes_of_the_methods_own_shot() -> None:
    layout = VideoLayout(81, 480, 832, num_memory=10)
    assert layout.latents_shape() == (1, 16, 31, 60, 104)
    assert layout.num_tokens() == 31 * 30 * 52


def test_mask_is_one_on_memory_and_on_known_pixel_frames() -> None:
    def per_pixel_frame(known: int, memory: int) -> list[list[float]]:
        mask = VideoLayout(9, 16, 16, num_memory=memory, num_known=known).mask()
        assert mask.shape == (1, 4, memory + 3, 2, 2)
        assert torch.equal(mask, mask[..., :1, :1].expand_as(mask))
        return mask[0, :, :, 0, 0].t().tolist()

    zero, one = [0.0] * 4, [1.0] * 4
    assert per_pixel_frame(0, 0) == [zero, zero, zero]
    assert per_pixel_frame(0, 2) == [one, one, zero, zero, zero]
    assert per_pixel_frame(1, 2) == [one, one, one, zero, zero]  # one pixel frame is all of latent frame 0
    assert per_pixel_frame(5, 1) == [one, one, one, zero]
    assert per_pixel_frame(3, 0) == [one, [1, 1, 0, 0], zero]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_frames": 80, "height": 64, "width": 64}, "4k + 1"),
        ({"num_frames": 5, "height": 60, "width": 64}, "multiples of 8"),
        ({"num_frames": 5, "height": 64, "width": 64, "num_known": 6}, "make the shot longer"),
    ],
)
def test_impossible_sizes_are_refused(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(SettingsError, match=words.replace("+", r"\+")):
        VideoLayout(**arguments)
