"""Reference images of a cast: the first memory of a film."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_server import content
from filming import Studio, of
from procedural import THREE_SHOTS, tiny_settings, tools

from storymem.errors import FilmDamagedError, MediaError, SettingsError
from storymem.film.director import Director
from storymem.film.events import ShotReused, ShotStale, ShotStarted
from storymem.film.plan import plan_film
from storymem.film.project import Film
from storymem.film.references import same_references
from storymem.media import FloatArray, read_image, write_png
from storymem.memory.encoders import FrameEncoder
from storymem.story import Story, load_story


class Turned:
    """Another encoder: the numbers of one, the other way round."""

    identity = "turned"

    def __init__(self, encoder: FrameEncoder) -> None:
        self.dimension = encoder.dimension
        self._encoder = encoder

    def encode(self, frames: FloatArray) -> FloatArray:
        return np.ascontiguousarray(self._encoder.encode(frames)[:, ::-1])


CAST = THREE_SHOTS.replace(
    "Mara: a girl with a red coat", "Mara: {description: a girl, references: [mara.png, hat.png]}"
)


@pytest.fixture
def pictures(studio: Studio) -> Path:
    """A studio whose cast has two reference images, 40x30 and 64x64."""
    rng = np.random.default_rng(0)
    base = studio.folder.parent / "pictures"
    base.mkdir()
    write_png(base / "mara.png", rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    write_png(base / "hat.png", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    studio.script, studio.base = CAST, base
    return base


class TestReferences:
    def test_the_first_shot_sees_them(self, studio: Studio, pictures: Path) -> None:
        started = of(studio.generate(), ShotStarted)
        assert started[0].mode == "m2v"
        assert [seen.label for seen in started[0].memory] == ["Mara (mara.png)", "Mara (hat.png)"]
        assert [frame.shape for frame in studio.maker.requests[0].memory] == [(3, 32, 32)] * 2
        for seen in started[0].memory:
            assert read_image(studio.folder / seen.picture).shape == (3, 32, 32)

    def test_a_film_goes_on_without_the_originals(self, studio: Studio, pictures: Path) -> None:
        told = studio.story()
        studio.generate()
        before = content(studio.folder)
        shutil.rmtree(pictures)
        with studio.begin(story=told):
            pass
        assert content(studio.folder) == before
        preview = Film.preview(
            studio.folder, story=told, script=studio.script.encode(), settings=studio.settings, tools=studio.tools
        )
        assert preview.manifest.references == studio.film().manifest.references

    def test_another_encoder_looks_at_the_kept_ones_anew(self, studio: Studio, pictures: Path) -> None:
        told = studio.story()
        studio.generate()
        shutil.rmtree(pictures)
        new = replace(studio.tools, encoder=Turned(studio.tools.encoder))
        asked = {"story": told, "settings": studio.settings, "tools": new, "adopt_settings": True}
        preview = Film.preview(studio.folder, script=studio.script.encode(), **asked)
        with studio.begin(**asked) as film:
            (before,) = [keyframe.embedding for keyframe in studio.film().reference_keyframes()[:1]]
            assert preview.manifest.references == film.manifest.references
            for keyframe in film.reference_keyframes():
                assert np.array_equal(keyframe.embedding, new.encoder.encode(keyframe.pixels[None])[0])
            assert not np.array_equal(film.reference_keyframes()[0].embedding, before)
            assert len(of(list(Director(film, new).generate(remake_stale=True)), ShotStarted)) == 3

    def test_pictures_that_never_were_there_are_no_kept_ones(self, studio: Studio, tmp_path: Path) -> None:
        home = tmp_path / "home"
        (home / "new").mkdir(parents=True)
        write_png(home / "new" / "mara.png", np.zeros((32, 32, 3), np.uint8))
        script = home / "story.yaml"
        script.write_text(CAST.replace("mara.png, hat.png", "new/mara.png"))
        with studio.begin(story=load_story(script)):
            pass
        script.write_text(CAST.replace("mara.png, hat.png", "nwe/mara.png"))
        with (
            pytest.raises(MediaError, match=r"nwe/mara\.png: there is no such picture"),
            studio.begin(story=load_story(script, pictures_kept=True)),
        ):
            pass
        shutil.rmtree(home / "new")
        moved = tmp_path / "moved.yaml"
        moved.write_text(CAST.replace("mara.png, hat.png", "new/mara.png"))
        with studio.begin(story=load_story(moved, pictures_kept=True)) as film:
            assert len(film.reference_keyframes()) == 1

    def test_they_are_told_apart_by_where_they_lie(self, tmp_path: Path) -> None:
        def told(folder: str, picture: str) -> Story:
            home = tmp_path / folder
            home.mkdir(exist_ok=True)
            (home / "film.yaml").write_text(CAST.replace("mara.png, hat.png", picture))
            return load_story(home / "film.yaml", pictures_kept=True)

        story = told("here", "new/mara.png")
        # As films kept them that were begun with a path that nobody can follow any more.
        lost = replace(story, source=Path("film.yaml"))
        for before in (story, lost):
            assert same_references(told("there", "new/mara.png"), before)
            assert not same_references(told("there", "old/mara.png"), before)
            assert not same_references(told("there", "new/hat.png"), before)
            assert not same_references(told("there", "new/mara.png, new/hat.png"), before)

    def test_they_are_found_again_where_film_json_is_lost(self, studio: Studio, pictures: Path) -> None:
        told = studio.story()
        studio.generate()
        shutil.rmtree(pictures)
        (studio.folder / "film.json").unlink()
        assert Film.keeps_pictures(studio.folder)
        with studio.begin(story=told) as film:
            assert len(of(list(Director(film, studio.tools).generate()), ShotReused)) == 3

    def test_another_picture_makes_the_film_stale(self, studio: Studio, pictures: Path) -> None:
        studio.generate()
        shutil.copy(pictures / "hat.png", pictures / "mara.png")
        stale = of(studio.generate(), ShotStale)
        assert [event.shot_id for event in stale] == ["01-01", "01-02", "01-03"]
        assert "memory changed: keyframes of Mara (mara.png)" in stale[0].reason

    def test_damaged_references_are_kept_again(self, studio: Studio, pictures: Path) -> None:
        studio.generate()
        before = content(studio.folder)
        path = next(studio.folder.glob("references/*/*.safetensors"))
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(FilmDamagedError, match="reference images are missing or damaged"):
            studio.plan()
        assert len(of(studio.generate(), ShotReused)) == 3
        assert content(studio.folder) == before

    def test_a_missing_picture(self, studio: Studio, pictures: Path) -> None:
        told = studio.story()
        (pictures / "hat.png").unlink()  # the script was read while it was there
        with pytest.raises(MediaError, match=r"hat\.png"), studio.begin(story=told):
            pass

    def test_more_than_the_memory_has_places(self, studio: Studio, pictures: Path) -> None:
        studio.settings = tiny_settings(capacity=1, sink=1)
        with pytest.raises(SettingsError, match="2 reference images"):
            studio.generate()

    def test_a_preview_has_the_memory_that_is_asked_for(self, studio: Studio, pictures: Path) -> None:
        studio.settings, script = tiny_settings(capacity=1, sink=1), studio.script
        studio.script = script.replace("mara.png, hat.png", "hat.png")
        studio.generate()
        studio.script = script
        asked = {"script": b"", "tools": studio.tools, "adopt_settings": True, "story": studio.story()}
        film = Film.preview(studio.folder, settings=tiny_settings(capacity=2, sink=1), **asked)
        assert len(film.reference_keyframes()) == 2
        with pytest.raises(SettingsError, match="2 reference images"):
            Film.preview(studio.folder, settings=tiny_settings(capacity=1, sink=1), **asked)
        studio.settings = tiny_settings(capacity=2, sink=1)
        with studio.begin(adopt_settings=True) as film:
            list(Director(film, studio.tools).generate(remake_stale=True))
        with pytest.raises(SettingsError, match="2 reference images"):
            Film.preview(studio.folder, settings=tiny_settings(capacity=1, sink=1), **asked)

    def test_a_preview_writes_nothing(self, studio: Studio, pictures: Path) -> None:
        told = studio.story()
        film = Film.preview(studio.folder, story=told, script=b"", settings=studio.settings, tools=tools())
        assert [planned.mode for planned in plan_film(film)] == ["m2v", "mi2v", "m2v"]
        assert not studio.folder.exists()
