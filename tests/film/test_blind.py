"""Whether a film of one shot looks at anything, which a text-to-video model cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from storymem.errors import ModelError
from storymem.film import resolve
from storymem.film.film_settings import FilmSettings
from storymem.film.resolve import ModelRequest, refuse_blind, resolve_model
from storymem.settings import MemoryConfig
from storymem.story.model import Character, Scene, Shot, Story

FOX = Character("Rudi", "a red fox")
SEEN = Character("Rudi", "a red fox", references=(Path("/fox.png"),))


def refuse(folder: Path, character: Character, *, portraits: bool, capacity: int) -> None:
    shot = Shot("01-01", 0, 1, "Rudi waves.", "Rudi waves.", cut=True, characters=("Rudi",))
    story = Story("A", "", (Scene(1, (shot,)),), cast=(character,))
    settings = FilmSettings(memory=MemoryConfig(capacity=capacity, sink=min(capacity, 3)), portraits=portraits)
    refuse_blind(resolve_model(ModelRequest(model=str(folder))), story, settings)


@pytest.fixture
def blind(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose transformers count as those of a text-to-video model."""
    monkeypatch.setattr(resolve, "blind_experts", lambda _: (["transformer", "transformer_2"], 2))
    return checkpoint


@pytest.mark.parametrize(("character", "portraits"), [(FOX, True), (SEEN, False)])
def test_a_single_shot_that_sees_pictures_of_its_cast_is_refused(
    blind: Path, character: Character, portraits: bool
) -> None:
    with pytest.raises(ModelError, match="is a text-to-video model, which cannot see memory"):
        refuse(blind, character, portraits=portraits, capacity=10)
    refuse(blind, character, portraits=portraits, capacity=0)
    refuse(blind, FOX, portraits=False, capacity=10)
