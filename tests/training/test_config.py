from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storymem.cli.app import app
from storymem.errors import SettingsError
from storymem.training.config import MemoryStage, load_config, parse_config

MINIMAL = "stage: memory\noutput: out\nsteps: 10\nmodel: base\ndata: {world: storyland}\n"
VAE = "stage: vae\noutput: out\nsteps: 10\ndata: {world: storyland}\n"
BASE = "stage: base\noutput: out\nsteps: 10\nvae: v\ndata: {world: storyland}\n"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "train").rglob("*.yaml"))


def test_defaults_are_the_methods() -> None:
    config = parse_config(MINIMAL, "a.yaml")
    assert isinstance(config, MemoryStage)
    assert (config.lora.rank, config.lora.rslora, config.lora.dropout) == (128, True, 0.05)
    assert (config.conditioning.max_memory, config.conditioning.first_frame) == (10, 0.5)
    assert config.conditioning.memory_stride == 5


def test_a_base_has_no_memory_unless_asked() -> None:
    text = "stage: base\noutput: out\nsteps: 1\nvae: v\ndata: {world: w}\n"
    assert parse_config(text, "a.yaml").conditioning.max_memory == 0
    assert parse_config(text + "conditioning: {first_frame: 0.2}\n", "a.yaml").conditioning.max_memory == 0
    assert parse_config(text + "conditioning: {max_memory: 3}\n", "a.yaml").conditioning.max_memory == 3


def test_every_mistake_is_told_in_a_line() -> None:
    text = MINIMAL + "batch_siz: 3\nlora: {rank: 0, alfa: 3}\noptimizer: {schedule: sine}\n"
    with pytest.raises(SettingsError) as caught:
        parse_config(text, "a.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert any(line.startswith("a.yaml: batch_siz: there is no such setting here; known are") for line in lines)
    assert any(
        line.startswith("a.yaml: lora.alfa: there is no such setting here; known are rank, alpha") for line in lines
    )
    assert any(line.startswith("a.yaml: lora.rank: is 0; input should be greater than or equal to 1") for line in lines)
    assert any(line.startswith("a.yaml: optimizer.schedule: is 'sine'; input should be") for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stage: vea\n", "stage: is 'vea'; it must be one of vae, base, memory"),
        ("steps: 3\n", "stage: is None"),
        ("- 1\n", "must hold settings"),
        ("stage: [\n", "a.yaml:2: not valid YAML"),
        ("stage: memory\noutput: o\nsteps: 1\ndata: {world: a}\n", "a.yaml: model: is missing"),
        (MINIMAL.replace("{world: storyland}", "{}"), "data: give either world or folder"),
        (MINIMAL.replace("storyland", "storyland, num_frames: 16"), "num_frames is 16"),
        (MINIMAL.replace("world: storyland", "folder: f, first: 9"), "first belongs to a world"),
        (MINIMAL + "batch_size: 6\naccumulate: 4\n", "batch_size .6. must be a multiple of accumulate .4."),
        (MINIMAL + "sample: {every: 5}\n", "sample.every needs groups that are not trained on"),
        (MINIMAL + "conditioning: {first_frame: 0.7, motion_frames: 0.7}\n", "together are above 1"),
        (MINIMAL.replace("world: storyland", "folder: f") + "loss: {focus: 2}\n", "loss.focus needs a world"),
        (
            MINIMAL.replace("memory", "vae").replace("model: base\n", "loss: {code_noise: 0.3}\n"),
            "loss.code_noise is for a code that stays as it is",
        ),
        (MINIMAL + "loss: {focus: 0.5}\n", "loss.focus: is 0.5; input should be greater than or equal to 1"),
        (MINIMAL.replace("memory", "vae").replace("model: base\n", "vae: {dim_mult: [1, 2]}\n"), "needs 1 entries"),
        (MINIMAL.replace("world: storyland", "folder: f, refresh: 0.5"), "refresh belongs to a world"),
        (VAE + "runtime: {fsdp: true}\n", "runtime.fsdp shards a transformer, and the vae stage trains none"),
        (BASE + "transformer: {attention_head_dim: 13}\n", "attention_head_dim is 13; it must be even"),
        (BASE + "transformer: {patch_size: [2, 2, 2]}\n", r"patch_size is \[2, 2, 2\]; its first number must be 1"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_config(text, "a.yaml")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("runtime: {gradient_checkpointing: true}", "runtime.gradient_checkpointing does nothing in the vae stage"),
        ("runtime: {compile: static}", "runtime.compile does nothing in the vae stage: leave it out."),
        ("runtime: {base_dtype: bfloat16}", "runtime.base_dtype does nothing in the vae stage"),
        ("runtime: {workers: 2}", "runtime.workers does nothing in the vae stage"),
        ("data: {world: w, store: device}", "data.store does nothing in the vae stage"),
        ("data: {world: w, variants: 2}", "data.variants does nothing in the vae stage"),
        ("data: {world: w, keyframes_per_clip: 2}", "data.keyframes_per_clip does nothing in the vae stage"),
        (
            "sample: {num_inference_steps: 3, guidance_scale: 2, num_memory: 1}",
            "sample.num_inference_steps, sample.guidance_scale, sample.num_memory do nothing in the vae stage",
        ),
        (
            "runtime: {compile: dynamic, base_dtype: bfloat16}",
            "runtime.compile, runtime.base_dtype do nothing in the vae stage: leave them out.",
        ),
    ],
)
def test_what_does_nothing_for_a_vae_is_refused(settings: str, message: str) -> None:
    text = VAE.replace("data: {world: storyland}\n", "") if settings.startswith("data") else VAE
    with pytest.raises(SettingsError) as caught:
        parse_config(f"{text}{settings}\n", "a.yaml")
    assert len(str(caught.value).splitlines()) == 1
    assert message in str(caught.value)
    # The other stages know what to do with it, and a default may be said.
    memory = MINIMAL.replace("data: {world: storyland}\n", "") if settings.startswith("data") else MINIMAL
    assert parse_config(f"{memory}{settings}\n", "a.yaml").steps == 10
    said = "runtime: {gradient_checkpointing: false, compile: 'off', base_dtype: float32, fsdp: false}\n"
    assert parse_config(VAE.replace("storyland", "storyland, store: cpu") + said, "a.yaml").steps == 10


def test_what_does_nothing_for_other_stages_is_refused() -> None:
    footage, full = MINIMAL.replace("world: storyland", "folder: prepared"), MINIMAL + "train: full\n"
    for text, message in (
        (BASE + "runtime: {base_dtype: bfloat16}\n", "runtime.base_dtype does nothing in the base stage"),
        (full + "runtime: {base_dtype: bfloat16}\n", "runtime.base_dtype does nothing with train: full"),
        (footage.replace("prepared", "prepared, pool: 8"), "data.pool does nothing with data.folder"),
        (footage.replace("prepared", "prepared, store: device"), "data.store does nothing with data.folder"),
        (footage + "runtime: {workers: 2}\n", "runtime.workers does nothing with data.folder"),
        (MINIMAL + "optimizer: {betas: [0.9, 1]}\n", "less than 1"),
        (
            VAE + "optimizer: {final_ratio: 0.1}\n",
            "optimizer.final_ratio does nothing with optimizer.schedule constant",
        ),
        (MINIMAL + "noise: {mean: 3, std: 2}\n", "noise.mean, noise.std do nothing with noise.distribution uniform"),
        (
            MINIMAL.replace("storyland", "storyland, variants: 0")
            + "conditioning: {augment: {blur: 3, jpeg: [1, 9]}}\n",
            "conditioning.augment.blur, conditioning.augment.jpeg do nothing with data.variants 0",
        ),
        (
            MINIMAL + "conditioning: {drop_prompt: 0}\ndistil: {memory_guidance_scale: 2, negative_prompt: fog}\n",
            "distil.negative_prompt does nothing with distil.guidance_scale 1",
        ),
        (
            VAE + "vae: {freeze_encoder: true, start: v}\nloss: {kl: 5}\n",
            "loss.kl does nothing with vae.freeze_encoder",
        ),
        (VAE + "loss: {single_frames: 0.8, known_frames: 0.5}\n", "together are above 1"),
    ):
        with pytest.raises(SettingsError, match=message):
            parse_config(text, "a.yaml")
    parse_config(MINIMAL + "lora: {rank: 4}\nruntime: {base_dtype: bfloat16}\n", "a.yaml")
    parse_config(full + "lora: {rank: 4}\n", "a.yaml")  # a file for either way
    parse_config(VAE + "vae: {freeze_encoder: true, start: v}\nloss: {kl: 0, single_frames: 1}\n", "a.yaml")
    parse_config(VAE.replace("world: storyland", "folder: prepared, pool: 8"), "a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace("memory", "[vae]"), r"stage: is \['vae'\]; it must be one of vae, base, memory"),
        (MINIMAL.replace("memory", "{a: 1}"), "stage: is {'a': 1}; it must be one of"),
        (MINIMAL + "seed: 2026-13-45\n", "a value looks like a date or a number and is none .month must be in 1..12."),
        (MINIMAL + "seed: !!float abc\n", "a value looks like a date or a number and is none .could not convert"),
        (MINIMAL + "optimizer: {learning_rate: .inf}\n", "optimizer.learning_rate: is inf; input should be a finite"),
        (MINIMAL + "noise: {mean: .nan}\n", "noise.mean: is nan; input should be a finite"),
    ],
)
def test_values_that_are_none_are_told_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    done = CliRunner().invoke(app, ["train", str(path)])
    assert isinstance(done.exception, SettingsError)
    assert done.exception.exit_code == 2
    assert len(str(done.exception).splitlines()) == 1
    assert re.search(message, str(done.exception))


def test_gradients_may_stay_as_they_are() -> None:
    config = parse_config(MINIMAL + "optimizer: {max_grad_norm: .inf}\n", "a.yaml")
    assert config.optimizer.max_grad_norm == math.inf


def test_values_can_be_set_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(MINIMAL)
    config = load_config(path, ("steps=20", "lora.rank=4", "data.options={a: [1, 2]}", "optimizer.betas=[0.8, 0.9]"))
    assert isinstance(config, MemoryStage)
    assert (config.steps, config.lora.rank) == (20, 4)
    assert config.data.options == {"a": [1, 2]}
    assert config.optimizer.betas == (0.8, 0.9)
    path.write_text(MINIMAL + "optimizer:\n")  # named, and left empty
    assert load_config(path, ("optimizer.learning_rate=1e-3",)).optimizer.learning_rate == 1e-3
    for wrong in ("steps", "=3", "steps.x=3"):
        with pytest.raises(SettingsError, match="--set"):
            load_config(path, (wrong,))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    assert load_config(path).steps > 0


def test_there_are_examples() -> None:
    names = {path.name for path in EXAMPLES}
    assert names >= {"lora_tiny.yaml", "wan22_lora.yaml", "1_vae_pictures.yaml", "5_clips.yaml", "lora.yaml"}
    assert names >= {"6_sides.yaml", "7_species.yaml", "8_recall.yaml", "9_films.yaml", "10_below.yaml"}


def test_the_documentation_lists_the_settings_as_they_are() -> None:
    script = Path(__file__).parents[2] / "docs" / "make_training.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"run `python docs/make_training.py` {done.stderr}"
