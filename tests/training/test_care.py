"""What a run takes care of: that what it was given is what it goes on with, and that nothing good is lost."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from safetensors.torch import load_file, save_file

from storymem.errors import ModelError, SettingsError, StorageError
from storymem.models.checkpoints import load_components, load_tokenizer
from storymem.training.denoise import Geometry
from storymem.training.footage import FootageClip, FootageSource, write_clips
from storymem.training.network_sections import LoraSection
from storymem.training.output import save_lora, save_vae
from storymem.training.run import train
from storymem.training.shared import check_size, latent_folder, vae_digest
from storymem.training.stages import encode_footage
from storymem.training.text import PromptCache

CAPTIONS = ("A red square by day.", "A blue square at night.", "A green square in fog.", "A white square by day.")


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """Two groups of two clips, all described."""
    rng = np.random.default_rng(0)
    frames = [np.clip(rng.normal(0, 0.4, (5, 3, 32, 32)).cumsum(0), -1, 1).astype(np.float32) for _ in CAPTIONS]
    toys.write_footage(tmp_path / "footage", zip(described(CAPTIONS), frames, strict=True))
    return tmp_path / "footage"


def described(captions: tuple[str, ...]) -> list[FootageClip]:
    texts = [(caption,) if caption else () for caption in captions]
    return [FootageClip(f"c{n}", n // 2, "a.mp4", 0, 4, None, text) for n, text in enumerate(texts)]


def on_footage(text: str, folder: Path, output: Path, *overrides: str) -> Any:
    given = ("conditioning.motion_frames=0", *overrides)
    return toys.on_footage(text, folder, output, *given, data="keyframes_per_clip: 2")


def vae_of(model: Path) -> Path:
    return model / "vae"


def test_other_captions_are_told_and_the_tokens_stay(small_model: Path, footage: Path, tmp_path: Path) -> None:
    def config(*overrides: str) -> Any:
        return on_footage(toys.BASE, footage, tmp_path / "out", f"vae={vae_of(small_model)}", *overrides)

    train(config("steps=2"))
    spoken = load_tokenizer(tmp_path / "out" / "model" / "tokenizer")("A red square by day.").input_ids
    write_clips(
        footage, described(("Zebras quarrel.", "Quick jackals vex.", "Waltzing nymphs.", "A red square by day."))
    )
    with pytest.raises(SettingsError, match=r"not what they name \(clips\).*--accept-changes"):
        train(config("steps=3"))
    train(config("steps=3"), accept_changes=True)
    assert load_tokenizer(tmp_path / "out" / "model" / "tokenizer")("A red square by day.").input_ids == spoken
    train(on_footage(toys.BASE, footage, tmp_path / "new", f"vae={vae_of(small_model)}", "steps=1"))
    assert load_tokenizer(tmp_path / "new" / "model" / "tokenizer")("A red square by day.").input_ids != spoken


def test_a_run_goes_on_without_the_weights_it_began_with(small_model: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    shutil.copytree(small_model, start)

    def config(steps: int) -> Any:
        given = (f"vae={vae_of(small_model)}", f"start={start}", f"steps={steps}")
        return toys.stage(toys.BASE, tmp_path / "out", *given)

    train(config(2))
    shutil.rmtree(start / "tokenizer")
    train(config(3))
    spoken = [
        load_tokenizer(folder / "tokenizer")("A red square.").input_ids
        for folder in (small_model, tmp_path / "out" / "model")
    ]
    assert spoken[0] == spoken[1]


def changed(path: Path, key: str) -> None:
    tensors = load_file(path)
    save_file({name: tensor + 0.1 if name == key else tensor for name, tensor in tensors.items()}, path)


def test_other_weights_under_the_same_name_are_told(small_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(small_model, model)
    train(toys.stage(toys.MEMORY, tmp_path / "out", f"model={model}", "steps=2"))
    changed(model / "transformer" / "diffusion_pytorch_model.safetensors", "proj_out.weight")
    with pytest.raises(SettingsError, match=r"not what they name \(model\)"):
        train(toys.stage(toys.MEMORY, tmp_path / "out", f"model={model}", "steps=3"))
    changed(model / "vae" / "diffusion_pytorch_model.safetensors", "quant_conv.weight")
    with pytest.raises(SettingsError, match=r"not what they name \(VAE, model\)"):
        train(toys.stage(toys.MEMORY, tmp_path / "out", f"model={model}", "steps=3"))
    train(toys.stage(toys.MEMORY, tmp_path / "out", f"model={model}", "steps=3"), accept_changes=True)


FILE = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("text", "settings", "file", "key", "told"),
    [
        (toys.VAE, ("vae.freeze_encoder=true", "vae.start={model}/vae"), f"vae/{FILE}", "quant_conv.bias", "encoder"),
        (
            toys.BASE,
            ("vae={model}/vae", "start={model}", "transformer.experts=2", "expert=low"),
            "text_encoder/model.safetensors",
            "shared.weight",
            "text encoder",
        ),
        (toys.MEMORY, ("model={model}",), "text_encoder/model.safetensors", "shared.weight", "text encoder"),
        (
            toys.MEMORY,
            ("model={model}", "train=full", "distil={guidance_scale: 2}", "conditioning.drop_prompt=0"),
            f"transformer/{FILE}",
            "proj_out.weight",
            "model",
        ),
    ],
)
def test_other_frozen_weights_are_told(
    text: str, settings: tuple[str, ...], file: str, key: str, told: str, small_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(small_model, model)

    def config(steps: int) -> Any:
        given = (setting.replace("{model}", str(model)) for setting in settings)
        return toys.stage(text, tmp_path / "out", f"steps={steps}", *given)

    train(config(1))
    train(config(2))
    changed(model / file, key)
    with pytest.raises(SettingsError, match=rf"not what they name \({told}\)"):
        train(config(3))
    (state,) = (tmp_path / "out" / "checkpoints").glob("*-00000002/state.json")
    notes = json.loads(state.read_text())
    del notes[told]
    state.write_text(json.dumps(notes))  # as one that was written before this was noted
    train(config(3))


@pytest.mark.parametrize("text", [toys.BASE, toys.MEMORY])
def test_clips_without_captions_are_told_before_they_are_encoded(
    small_model: Path, footage: Path, tmp_path: Path, text: str
) -> None:
    write_clips(footage, described((*CAPTIONS[:3], "")))
    given = f"vae={vae_of(small_model)}" if text is toys.BASE else f"model={small_model}"
    config = on_footage(text, footage, tmp_path / "out", given)
    with pytest.raises(SettingsError, match=r"1 of 4 clips have no caption \(the first is c3\)"):
        train(config)
    assert not list(footage.glob("latents-*"))
    if text is toys.BASE:  # encoding needs none, nor the processes that are to train
        many = {"runtime": config.runtime.model_copy(update={"fsdp": True, "device": "cuda"})}
        assert encode_footage(config.model_copy(update=many)) == 4


def test_memory_that_held_out_groups_cannot_give_is_told_at_once(small_model: Path, tmp_path: Path) -> None:
    frames = [np.zeros((5, 3, 32, 32), np.float32)] * 6
    clips = [FootageClip(f"c{n}", n // 4, "a.mp4", 0, 4, None, (CAPTIONS[0],)) for n in range(6)]  # four and two
    toys.write_footage(tmp_path / "footage", zip(clips, frames, strict=True))
    watched = ("data.held_out=1", "validation={every: 2, clips: 2, num_memory: 3, levels: [0.5]}")
    config = on_footage(toys.MEMORY, tmp_path / "footage", tmp_path / "out", f"model={small_model}", *watched)
    with pytest.raises(SettingsError, match=r"has 3 keyframes .* \(the largest has 2\): lower validation\.num_memory"):
        train(config)
    assert not (tmp_path / "out" / "log.jsonl").exists()


@contextmanager
def small_disk() -> Iterator[None]:
    """No file can be larger than 20 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_told_and_leaves_nothing_half_done(small_model: Path, tmp_path: Path) -> None:
    config = toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "lora.rank=16")
    with small_disk(), pytest.raises(StorageError, match=r"checkpoints/model-00000002: could not be written"):
        train(config)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_full_disk_at_the_end_leaves_what_was_there(small_model: Path, tmp_path: Path) -> None:
    vae = load_components(small_model, only=["vae"]).vae
    assert vae is not None
    save_vae(tmp_path / "vae", vae)
    before = (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
    with small_disk(), pytest.raises(StorageError, match="vae: could not be written"):
        save_vae(tmp_path / "vae", vae)
    assert (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").read_bytes() == before


def test_a_size_that_no_model_can_have_is_refused_before_the_first_step(small_model: Path, tmp_path: Path) -> None:
    config = toys.stage(
        toys.BASE, tmp_path, f"vae={vae_of(small_model)}", "data.width=40", "transformer.patch_size=[1,1,1]"
    )
    with pytest.raises(SettingsError, match="width is 40; it must be a multiple of 16"):
        train(config)
    assert not (tmp_path / "checkpoints").exists()


def test_tokens_must_cover_the_picture() -> None:
    geometry = Geometry(25, 64, 112, 4, 16)
    check_size(geometry, (1, 2, 1))
    with pytest.raises(SettingsError, match=r"data\.width is 112; it must be a multiple of 32"):
        check_size(geometry, (1, 2, 2))
    with pytest.raises(SettingsError, match=r"data\.height is 64; it must be a multiple of 48"):
        check_size(geometry, (1, 3, 1))


@pytest.mark.parametrize("kinds", [("adamw", "muon"), ("muon", "adamw")])
def test_a_run_can_go_on_with_another_optimizer(small_model: Path, tmp_path: Path, kinds: tuple[str, str]) -> None:
    def config(kind: str, steps: int) -> Any:
        given = (f"vae={vae_of(small_model)}", f"optimizer.kind={kind}", f"steps={steps}")
        return toys.stage(toys.BASE, tmp_path, *given)

    train(config(kinds[0], 2))
    with pytest.raises(SettingsError, match=r"optimizer\.kind was"):
        train(config(kinds[1], 3))
    train(config(kinds[1], 3), accept_changes=True)
    assert len(toys.losses(tmp_path)) == 3


def test_weights_that_ran_off_are_not_kept(small_model: Path, tmp_path: Path) -> None:
    train(toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "steps=2"))
    wild = toys.stage(
        toys.MEMORY,
        tmp_path,
        f"model={small_model}",
        "steps=8",
        "checkpoint_every=1",
        "keep_checkpoints=1",
        "log_every=20",
        "optimizer.learning_rate=1e38",
    )
    with pytest.raises(ModelError, match=r"not finite, so it ran off.*--accept-changes"):
        train(wild, accept_changes=True)
    (kept,) = (tmp_path / "checkpoints").glob("model-*")
    for path in kept.glob("*.safetensors"):
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(path).values()), path


def test_prompts_on_disk_do_not_fill_the_memory(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = load_components(small_model, only=["text_encoder", "tokenizer"])
    assert parts.text_encoder is not None
    assert parts.tokenizer is not None
    texts = [f"A {colour} square at {place}." for colour in toys.COLOURS for place in toys.PLACES]
    with torch.no_grad():
        plain = PromptCache(parts.tokenizer, parts.text_encoder, "cpu")(texts)
    monkeypatch.setattr(PromptCache, "_BYTES_IN_MEMORY", 2000)
    prompts = PromptCache(parts.tokenizer, parts.text_encoder, "cpu", folder=tmp_path)
    prompts.fill(texts, batch=3)
    prompts.release()
    assert sum(embeds.nbytes for embeds in prompts._kept.values()) <= 2000
    torch.testing.assert_close(prompts(texts), plain)
    assert sum(embeds.nbytes for embeds in prompts._kept.values()) <= 2000


def test_clips_of_a_group_are_read_one_by_one(footage: Path) -> None:
    source = FootageSource(footage, 32, 32, 5)
    whole = source.group(0)
    assert len(whole) == 2
    second = whole[1].frames
    (footage / "clips" / "c0.mp4").unlink()
    assert torch.equal(source.group(0)[1].frames, second)
    assert torch.equal(source.group(0)[1:][0].frames, second)


def test_latents_are_known_by_all_that_makes_them(small_model: Path, footage: Path, tmp_path: Path) -> None:
    vae: Any = load_components(small_model, only=["vae"]).vae

    def folder(*overrides: str) -> str:
        config = on_footage(toys.MEMORY, footage, tmp_path / "out", f"model={small_model}", *overrides)
        return latent_folder(config, vae_digest(vae))

    names = [folder(), folder("runtime.precision=bfloat16"), folder("data.num_frames=1")]
    names.append(folder("conditioning={blank: gradient, max_memory: 4, motion_frames: 0.2}"))
    vae.register_to_config(latents_std=[2 * one for one in vae.config.latents_std])
    names.append(folder())
    assert len(set(names)) == 5


def test_one_held_out_group_knows_no_wrong_memory(small_model: Path, tmp_path: Path) -> None:
    def kinds(held_out: int) -> set[str]:
        output = tmp_path / str(held_out)
        given = (f"model={small_model}", "steps=2", "validation={every: 2, clips: 4, levels: [0.5]}")
        seen: list[Any] = []
        train(toys.stage(toys.MEMORY, output, *given, f"data.held_out={held_out}"), on_record=seen.append)
        return {name.rsplit("/", 1)[1] for record in seen for name in record if name.startswith("validation")}

    assert kinds(2) == {"right", "none", "wrong"}
    assert kinds(1) == {"right", "none"}


def test_experts_trained_one_by_one_end_in_one_folder(tmp_path: Path) -> None:
    def names(*overrides: str) -> set[str]:
        train(toys.stage(toys.MEMORY, tmp_path, f"model={toys.CHECKPOINT}", "steps=2", *overrides), accept_changes=True)
        return {path.name for path in (tmp_path / "lora").iterdir()}

    high, low, note = "backbone_high_noise.safetensors", "backbone_low_noise.safetensors", "adapter_config.json"
    sampling = "sampling.json"
    assert names("expert=high") == {high, note, sampling}
    first = (tmp_path / "lora" / high).read_bytes()
    assert names("expert=low") == {high, low, note, sampling}
    assert (tmp_path / "lora" / high).read_bytes() == first
    shutil.rmtree(tmp_path / "checkpoints")
    assert names("expert=low", "lora.dropout=0.25") == {high, low, note, sampling}  # dropout is for training alone
    assert (tmp_path / "lora" / high).read_bytes() == first


def test_experts_in_one_folder_are_sampled_alike(tmp_path: Path) -> None:
    tensors = {f"base_model.model.blocks.0.self_attn.q.lora_{part}.weight": torch.ones(4, 4) for part in "AB"}
    config, lora = LoraSection(rank=4), tmp_path / "lora"
    one_call = {"memory_stride": 5, "guidance_scale": 1.0}
    save_lora(lora, {"high": tensors}, config, one_call)
    with pytest.raises(SettingsError, match=r"the high expert there is sampled with other guidance_scale \(sampling"):
        save_lora(lora, {"low": tensors}, config, {"memory_stride": 5})
    lora.rename(tmp_path / ".old-lora")  # a kill while the folder was replaced
    save_lora(lora, {"low": tensors}, config, one_call)
    assert {path.name for path in lora.glob("*.safetensors")} == {
        "backbone_high_noise.safetensors",
        "backbone_low_noise.safetensors",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["lora"]


@pytest.mark.parametrize(
    ("change", "told"), [("rank=2", "r 4 and not 2, lora_alpha 4 and not 2"), ("rslora=false", "use_rslora True and")]
)
def test_a_lora_is_not_lost_to_one_that_does_not_fit_beside_it(tmp_path: Path, change: str, told: str) -> None:
    def run(*overrides: str) -> list[Any]:
        seen: list[Any] = []
        config = toys.stage(toys.MEMORY, tmp_path, f"model={toys.CHECKPOINT}", "steps=1", *overrides)
        train(config, on_record=seen.append)
        return seen

    run("expert=high")
    before = {path.name: path.read_bytes() for path in (tmp_path / "lora").iterdir()}
    lines = (tmp_path / "log.jsonl").read_text()
    for _ in range(2):  # a note that is damaged tells of no LoRA that fits
        with pytest.raises(SettingsError, match="LoRA of the high expert") as error:
            run("expert=low", f"lora.{change}")
        assert "choose another output folder" in str(error.value)
        assert (told in str(error.value)) == (before["adapter_config.json"][:1] == b"{")
        assert {path.name: path.read_bytes() for path in (tmp_path / "lora").iterdir()} == before
        before["adapter_config.json"] = b"["
        (tmp_path / "lora" / "adapter_config.json").write_bytes(b"[")
    assert (tmp_path / "log.jsonl").read_text() == lines  # no step was made
    shutil.rmtree(tmp_path / "lora")
    assert run("expert=low", f"lora.{change}")
