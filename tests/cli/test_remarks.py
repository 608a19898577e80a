from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storymem.cli.film_options import film_settings
from storymem.cli.prompts import too_long
from storymem.cli.remarks import remarks
from storymem.film.film_settings import FilmSettings
from storymem.film.pipeline_maker import ModelChoice
from storymem.film.resolve import ModelRequest, ResolvedModel, resolve_model
from storymem.models.catalog import CATALOG
from storymem.models.store import Lock, folder_of, write_lock
from storymem.story import load_story

SCRIPT = """
title: A Day
{defaults}
scenes:
  - shots:
      - Pip the fox walks in the forest at noon. Wide shot.
      - {{prompt: Pip the fox waves in the forest at noon. Wide shot., {length}}}
"""


def _said(folder: Path, *, defaults: str = "", length: str = "num_frames: 25", model: str = "storyland") -> list[str]:
    path = folder / "script.yaml"
    path.write_text(SCRIPT.format(defaults=defaults, length=length), encoding="utf-8")
    story, resolved = load_story(path), resolve_model(ModelRequest(model))
    settings = film_settings(
        story, resolved, None, sampling={}, memory={}, seed=None, continue_with=None, negative_prompt=None
    )
    return remarks(story, settings, resolved)


def test_what_the_small_model_was_made_for_is_told_first(tmp_path: Path) -> None:
    assert [sentence.split(":")[0] for sentence in _said(tmp_path)] == ["storyland"]


def test_what_is_said_of_a_lora_is_said_by_its_own_name_in_place_of_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORYMEM_HOME", str(tmp_path / "home"))
    lora = CATALOG["lightning-i2v"]
    (folder_of(lora) / lora.subfolder).mkdir(parents=True)
    write_lock(lora, Lock(str(lora.repo), str(lora.revision), {}, {}))
    for where, strange in (("", []), ("id: x}\n      - {prompt: The quokka waves.", ["quokka"])):
        path = tmp_path / "script.yaml"
        path.write_text(SCRIPT.format(defaults="", length=where or "num_frames: 25"), encoding="utf-8")
        story, resolved = load_story(path), resolve_model(ModelRequest("storyland", (("lightning-i2v", 1.0),)))
        said = remarks(story, FilmSettings.for_story(story, sampling=dict(resolved.sampling)), resolved)
        assert said[0] == "lightning-i2v: " + lora.note
        assert not any(sentence.startswith("storyland:") for sentence in said)
        assert all(any(word in sentence for sentence in said) for word in strange)


@pytest.mark.parametrize("where", [{"length": "duration: 5"}, {"defaults": "defaults: {duration: 5}"}])
def test_shots_longer_than_the_model_was_made_for_are_told_of(tmp_path: Path, where: dict[str, str]) -> None:
    (sentence,) = [sentence for sentence in _said(tmp_path, **where) if "made for shots" in sentence]
    assert sentence.startswith("storyland was made for shots of 25 frames (1.6 s at 16 fps); the longest here has 81,")


def test_pictures_of_another_size_than_the_model_was_made_for_are_told_of(tmp_path: Path) -> None:
    own = CATALOG["storyland"].sampling
    assert not any("pictures of" in s for s in _said(tmp_path))
    assert not any("pictures of" in s for s in _said(tmp_path, defaults=f"defaults: {{width: {own['width']}}}"))
    (sentence,) = [s for s in _said(tmp_path, defaults="defaults: {width: 96, height: 48}") if "pictures of" in s]
    assert sentence == f"storyland was made for pictures of {own['width']}x{own['height']}; at 96x48 it may draw worse."


def test_the_length_is_each_models_own(tmp_path: Path) -> None:
    assert not any("made for shots" in s for s in _said(tmp_path, model="tiny-random", length="num_frames: 17"))
    (sentence,) = [s for s in _said(tmp_path, model="tiny-random") if "made for shots" in s]
    assert "made for shots of 17 frames" in sentence


def test_of_a_folder_that_says_nothing_of_itself_nothing_is_said(tmp_path: Path) -> None:
    folder = resolve_model(ModelRequest("storyland")).model.folder
    assert _said(tmp_path, model=str(folder), length="num_frames: 121") == []


def test_models_of_the_catalogue_are_made_for_the_usual_length(tmp_path: Path) -> None:
    request = ModelRequest("wan2.2-i2v-a14b")
    wan = replace(resolve_model(ModelRequest("storyland")), request=request, sampling=CATALOG[request.model].sampling)
    path = tmp_path / "script.yaml"
    for length, said in ((81, []), (121, ["121"])):
        path.write_text(f"title: T\nshots: [{{prompt: A fox., num_frames: {length}}}]\n", encoding="utf-8")
        story = load_story(path)
        sentences = remarks(story, FilmSettings.for_story(story, sampling={}), wan)
        assert [str(length) for sentence in sentences if "made for shots of 81 frames" in sentence] == said


def test_words_that_nobody_taught_it_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text("title: T\nscenes: [{shots: [The quokka waves.]}]\n", encoding="utf-8")
    story, resolved = load_story(path), resolve_model(ModelRequest("storyland"))
    said = remarks(story, FilmSettings.for_story(story, sampling=dict(resolved.sampling)), resolved)
    assert [sentence for sentence in said if "quokka" in sentence]


def test_prompts_beyond_what_is_read_are_told_with_their_shots(tmp_path: Path) -> None:
    def said(*numbers: int) -> list[str]:
        shots = "".join(f"\n      - {{prompt: {'dog ' * number}, id: of-{number}}}" for number in numbers)
        return [s for s in _said(tmp_path, length="id: x}" + shots + "\n      - {prompt: A dog.") if "prompt" in s]

    assert said(79) == []
    assert said(80) == ["shot of-80: only the first 79 of 80 tokens of the prompt are read; shorten it."]
    *_, last = many = said(*range(90, 97))
    assert (len(many), last) == (4, "and so it is with the prompts of 4 more shots.")


def test_what_the_cast_adds_counts_too(tmp_path: Path) -> None:
    cast = "cast: {Pip: a small fox with " + "a cap and " * 40 + "a scarf}"
    (portrait, first, _) = [s for s in _said(tmp_path, defaults=cast) if "tokens" in s]
    assert portrait.startswith("shot portrait-pip: only the first 79 of 1")
    assert first.startswith("shot 01-01: only the first 79 of 1")
    assert "of the prompt with its cast are read" in first
    assert too_long(tmp_path, ()) == []  # a folder without a tokenizer


@pytest.mark.parametrize(
    ("model", "defaults", "length", "told"),
    [
        ("storyland", "defaults: {negative_prompt: rain}", "num_frames: 25", True),
        ("storyland", "", "negative_prompt: rain", True),
        ("storyland", "defaults: {negative_prompt: rain, guidance_scale: 2}", "num_frames: 25", False),
        ("storyland", "", "num_frames: 25", False),
        ("tiny-random", "defaults: {negative_prompt: rain}", "num_frames: 25", False),
    ],
)
def test_a_negative_prompt_without_effect_is_told_of(
    tmp_path: Path, model: str, defaults: str, length: str, told: bool
) -> None:
    said = _said(tmp_path, model=model, defaults=defaults, length=length)
    assert any("negative prompt has no effect at guidance 1" in sentence for sentence in said) is told


def test_a_name_that_no_prompt_has_is_told_of(tmp_path: Path) -> None:
    assert any(
        sentence.startswith("no prompt names Zora of") for sentence in _said(tmp_path, defaults="cast: {Zora: an owl}")
    )


def _idle(folder: Path, **defaults: str) -> list[str]:
    said = ", ".join(f"{name}: {value}" for name, value in defaults.items())
    return [s for s in _said(folder, defaults=f"defaults: {{{said}}}") if "no effect" in s or "not made" in s]


def test_what_needs_guidance_is_told_of_without(tmp_path: Path) -> None:
    (told,) = _idle(tmp_path, guidance_every="3")
    assert told.startswith("--guidance-every has no effect at guidance 1; it needs --guidance or --memory-guidance")
    assert _idle(tmp_path, guidance_every="3", guidance_scale="2") == []
    assert _idle(tmp_path, guidance_every="3", memory_guidance_scale="2") == []
    assert _idle(tmp_path, guidance_every="1") == []


def test_a_batch_of_both_branches_needs_two(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(SCRIPT.format(defaults="", length="num_frames: 25"), encoding="utf-8")
    story, resolved = load_story(path), resolve_model(ModelRequest())

    def told(resolved: ResolvedModel = resolved, **sampling: object) -> bool:
        own = {**resolved.sampling, "batch_cfg": True, **sampling}
        said = remarks(story, FilmSettings.for_story(story, sampling=own), resolved)
        return any(sentence.startswith("--batch-cfg has no effect at guidance 1") for sentence in said)

    assert told()
    assert told(memory_guidance_scale=2.0)  # asks without the memory, one after the other
    assert not told(batch_cfg=False)
    assert not told(guidance_scale_2=2.0)
    guided = ModelChoice("first", None, sampling={"guidance_scale": 4.0})
    assert not told(replace(resolved, first=guided))  # its shots have two


def test_what_needs_a_memory_is_told_of_without(tmp_path: Path) -> None:
    none = "{capacity: 0, sink: 0"
    assert _idle(tmp_path, memory=none + "}") == []  # how the model itself recalls is nobody's wish
    asked = none + ", max_keyframes_per_shot: 7, recall: all, threshold_step: 0.1}"
    (told,) = _idle(tmp_path, memory=asked, memory_guidance_scale="3")
    assert told == (
        "--memory-guidance, --keyframes, threshold_step, --recall have no effect without a memory; "
        "give a --memory-size above 0."
    )
    (told,) = _idle(tmp_path, memory=none + ", similarity_threshold: 0.5}")
    assert told.startswith("--similarity has no effect")
    assert _idle(tmp_path, memory=asked.replace("capacity: 0", "capacity: 4"), memory_guidance_scale="3") == []


def test_portraits_that_a_script_asks_for_without_a_memory_are_told_of(tmp_path: Path) -> None:
    (told,) = _idle(tmp_path, portraits="true", memory="{capacity: 0, sink: 0}")
    assert told.startswith("the script's portraits are not made without a memory")
    assert _idle(tmp_path, portraits="true") == []
    assert _idle(tmp_path, portraits="false", memory="{capacity: 0, sink: 0}") == []
    cast = "cast: {Pip: {description: a fox, portrait: true}}\ndefaults: {memory: {capacity: 0, sink: 0}}"
    assert told in _said(tmp_path, defaults=cast)


def test_a_quality_that_nothing_judges_is_told_of(tmp_path: Path) -> None:
    (told,) = _idle(tmp_path, memory="{scorer: none, quality_threshold: 5}")
    assert told.startswith("the quality threshold has no effect with the scorer none")
    assert _idle(tmp_path, memory="{scorer: none}") == _idle(tmp_path, memory="{quality_threshold: 5}") == []
