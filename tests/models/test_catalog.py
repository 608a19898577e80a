from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from storymem.errors import ModelError
from storymem.models.build import make_empty
from storymem.models.catalog import CATALOG, entry, sampling_for
from storymem.models.checkpoints import load_components
from storymem.models.needs import GIB, needs_of, working_memory
from storymem.models.store import locate
from storymem.models.tiny import make_tiny
from storymem.settings import SamplingConfig


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_entry_is_whole() -> None:
    for name, item in CATALOG.items():
        assert item.name == name
        assert re.fullmatch(r"[a-z0-9.\-]+", name)
        assert item.title
        assert item.parameters
        assert (item.repo is None) == (not item.patterns) == (item.download_gb == 0)
        assert item.base is None or (item.kind == "lora" and CATALOG[item.base].kind == "i2v")
        assert item.revision is None or re.fullmatch(r"[0-9a-f]{40}", item.revision)
        sampling_for(item)  # raises if a setting has another name or a wrong value


def test_the_methods_settings() -> None:
    plain = sampling_for(entry("wan2.2-i2v-a14b"))
    assert (plain.num_inference_steps, plain.shift, plain.boundary_ratio) == (40, 5.0, 0.9)
    assert (plain.guidance_scale, plain.guidance_scale_2) == (3.5, 3.5)
    memory = sampling_for(entry("wan2.2-i2v-a14b"), entry("storymem-mi2v"))
    assert (memory.shift, memory.memory_stride, memory.num_inference_steps) == (4.0, 5, 40)
    assert (memory.width, memory.height, memory.num_frames, memory.fps) == (832, 480, 81, 16)
    first = sampling_for(entry("wan2.2-t2v-a14b"))
    assert (first.shift, first.boundary_ratio) == (12.0, 0.875)
    assert (first.guidance_scale, first.guidance_scale_2) == (4.0, 3.0)
    fast = sampling_for(entry("wan2.2-i2v-a14b"), entry("storymem-mi2v"), entry("lightning-i2v"))
    assert (fast.num_inference_steps, fast.solver, fast.guidance_scale, fast.memory_stride) == (4, "euler", 1.0, 5)


def test_settings_are_laid_over_what_is_given() -> None:
    base = SamplingConfig(width=256, height=256, num_frames=5)
    assert sampling_for(entry("wan2.2-t2v-a14b"), base=base).width == 256


def test_an_unknown_name_is_met_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"did you mean wan2\.2-i2v-a14b\?"):
        entry("wan2.2-i2v-14b")
    with pytest.raises(ModelError, match="storymem models list"):
        entry("something else entirely")


def test_the_parameters_are_counted_ones() -> None:
    counted = CATALOG["wan2.2-i2v-a14b"].parameters
    assert count(make_empty(lambda: WanTransformer3DModel(in_channels=36))) / 1e9 == pytest.approx(
        counted["transformer"], abs=0.005
    )
    assert count(make_empty(AutoencoderKLWan)) / 1e9 == pytest.approx(counted["vae"], abs=0.0005)
    config = UMT5Config(vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64)
    encoder = make_empty(lambda: UMT5EncoderModel(config))
    # Empty, the embedding that it has under two names counts twice.
    tied = count(encoder) - encoder.shared.weight.numel()
    assert tied / 1e9 == pytest.approx(counted["text_encoder"], abs=0.005)


def test_the_tiny_models_parameters(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    make_tiny(folder)
    parts = load_components(folder)
    for name, billions in CATALOG["tiny-random"].parameters.items():
        assert count(getattr(parts, name)) / 1e9 == pytest.approx(billions, rel=0.1)


def test_the_packaged_models_parameters() -> None:
    parts = load_components(locate("storyland"))
    for name, billions in CATALOG["storyland"].parameters.items():
        assert count(getattr(parts, name)) / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize(("rank", "name"), [(128, "storymem-mi2v"), (64, "lightning-i2v")])
def test_the_loras_parameters(rank: int, name: str) -> None:
    per_block = 8 * rank * 2 * 5120 + 2 * rank * (5120 + 13824)
    assert CATALOG[name].parameters["transformer"] == pytest.approx(40 * per_block / 1e9, abs=0.001)


def test_needs_fall_with_offload_and_quantization() -> None:
    item = CATALOG["wan2.2-i2v-a14b"]
    needs = {need.way: need for need in needs_of(item, sampling_for(item))}
    everything, offloaded = needs["all on the GPU"], needs["one component on the GPU"]
    weights = 2e9 * (2 * 14.29 + 5.68) + 4e9 * 0.127
    assert everything.gpu > weights
    assert everything.gpu - weights < 12 * GIB
    assert offloaded.gpu < everything.gpu / 2
    assert offloaded.ram > weights
    assert needs["one component on the GPU as GGUF Q4_K"].gpu < offloaded.gpu
    assert needs["layer by layer on the GPU"].gpu < 12 * GIB
    assert all(need.gpu == 0 for way, need in needs.items() if "CPU" in way)


def test_working_memory_grows_with_the_sequence() -> None:
    sampling = SamplingConfig()
    assert working_memory(sampling, keyframes=10) / working_memory(sampling, keyframes=0) == pytest.approx(31 / 21)
    double = dataclasses.replace(sampling, width=sampling.width * 2)
    assert working_memory(double) == 2 * working_memory(sampling)


def test_the_documented_needs_are_the_computed_ones() -> None:
    item = CATALOG["wan2.2-i2v-a14b"]
    page = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `--offload (\w+)` \| (\d+) GiB \| (\d+) GiB \|", page)
    computed = {
        (n.option.split()[-1], f"{n.gpu / GIB:.0f}", f"{n.ram / GIB:.0f}") for n in needs_of(item, sampling_for(item))
    }
    assert len(rows) == 5
    assert set(rows) <= computed
