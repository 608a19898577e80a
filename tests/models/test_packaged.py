"""The small model that is part of the package: it is there, it is small, and it draws what it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from storymem.models.catalog import entry, sampling_for
from storymem.models.checkpoints import load_components
from storymem.models.store import locate
from storymem.pipeline import StoryMemPipeline
from storymem.worlds.storyland import render, sample_shot

PLACES = ("beach at noon", "cave", "kitchen at noon", "mountain at night")


def test_it_is_small_and_tells_nothing_of_where_it_was_made() -> None:
    folder = locate("storyland")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40e6
    assert {path.suffix for path in files} <= {".json", ".safetensors"}
    here = str(Path.home())
    for path in files:
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            assert "_name_or_path" not in text
            assert here not in text


@pytest.fixture(scope="module")
def pipe() -> StoryMemPipeline:
    pipe = StoryMemPipeline.from_components(load_components(locate("storyland")))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def colours(frames: torch.Tensor) -> torch.Tensor:
    """Mean colour of a grid of 2 x 4 parts of frames ``[3, F, H, W]``."""
    return torch.nn.functional.adaptive_avg_pool2d(frames.mean(dim=1), (2, 4)).flatten()


def test_places_look_like_themselves(pipe: StoryMemPipeline) -> None:
    sampling = sampling_for(entry("storyland"))
    drawn: dict[str, list[torch.Tensor]] = {}
    for seed in range(400):
        spec = sample_shot(seed)
        for place in PLACES:
            kind, _, time = place.partition(" at ")
            if spec.place.kind == kind and (not time or spec.time == time):
                drawn.setdefault(place, []).append(colours(render([spec], 1)[0]))
    means = torch.stack([torch.stack(drawn[place]).mean(dim=0) for place in PLACES])
    found = []
    for place in PLACES:
        kind, _, time = place.partition(" at ")
        when = f" at {time}" if time else ""
        where = {"mountain": "in the mountains", "beach": "on the beach"}.get(kind, f"in the {kind}")
        shot = pipe(
            f"Pip, a little orange fox with a blue cap and a red scarf, waves {where}{when}. Medium shot.",
            sampling=sampling,
            generator=torch.Generator().manual_seed(0),
            output_type="raw",
        )
        found.append(int((means - colours(shot.frames)).square().sum(dim=1).argmin()))
    assert found == list(range(len(PLACES)))
