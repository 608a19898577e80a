from __future__ import annotations

import gc
import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from diffusers.quantizers.gguf.utils import GGUFParameter
from safetensors.torch import load_file, save_file

from storymem.errors import CheckpointError, ModelError, SettingsError
from storymem.film.cost import Work, work_of
from storymem.film.film_settings import FilmSettings
from storymem.film.maker import ShotRequest
from storymem.film.pipeline_maker import LoraChoice, ModelChoice, PipelineShotMaker, Runtime, _enough_memory, _place
from storymem.film.resolve import ModelRequest, parse_loras, refuse_blind, resolve_model
from storymem.models.catalog import entry, sampling_for
from storymem.models.checkpoints import load_components
from storymem.models.store import locate
from storymem.models.tiny import make_tiny
from storymem.settings import MAX_SIZE, MemoryConfig, SamplingConfig
from storymem.story import parse_story

SMALL = SamplingConfig(width=48, height=32, num_frames=5, num_inference_steps=2)


@pytest.fixture(scope="module")
def text_to_video(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Wan2.2-T2V folder: the same parts, and transformers of 16 input channels."""
    folder = tmp_path_factory.mktemp("t2v") / "model"
    shutil.copytree(checkpoint, folder)
    for expert in ("high_noise_model", "low_noise_model"):
        config_path = folder / expert / "config.json"
        config = {**json.loads(config_path.read_text()), "in_dim": 16, "model_type": "t2v"}
        config_path.write_text(json.dumps(config))
        weights_path = folder / expert / "diffusion_pytorch_model.safetensors"
        weights = load_file(weights_path)
        weights["patch_embedding.weight"] = weights["patch_embedding.weight"][:, :16].contiguous()
        save_file(weights, weights_path)
    return folder


def request(seed: int = 1, memory: int = 0, known: int = 0) -> ShotRequest:
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (memory + known, 3, 32, 48)).astype(np.float32)
    return ShotRequest("a fox", "", seed, SMALL, tuple(frames[:memory]), frames[memory:])


def maker_of(folder: Path, *loras: LoraChoice, first: ModelChoice | None = None) -> PipelineShotMaker:
    return PipelineShotMaker(ModelChoice("test", folder, loras), first=first, runtime=Runtime(device="cpu"))


def make(maker: PipelineShotMaker, wanted: ShotRequest) -> np.ndarray:
    return maker.make(wanted, lambda _done, _total: None)


def test_a_request_gives_the_same_frames_whenever_it_is_made(checkpoint: Path) -> None:
    maker = maker_of(checkpoint)
    steps: list[tuple[int, int]] = []
    frames = maker.make(request(memory=2), lambda done, total: steps.append((done, total)))
    assert frames.shape == (5, 3, 32, 48)
    assert frames.dtype == np.float32
    assert steps == [(0, 2), (1, 2), (2, 2)]  # loaded, and two steps
    make(maker, request(seed=9, known=1))  # whatever was made in between
    assert np.array_equal(make(maker, request(memory=2)), frames)
    assert np.array_equal(make(maker_of(checkpoint), request(memory=2)), frames)
    assert not np.array_equal(make(maker, request(seed=2, memory=2)), frames)


def test_the_lora_and_its_weight_are_in_the_picture_and_in_the_identity(checkpoint: Path) -> None:
    lora = checkpoint / "StoryMem" / "Wan2.2-MI2V-A14B"
    makers = [maker_of(checkpoint), maker_of(checkpoint, LoraChoice(lora)), maker_of(checkpoint, LoraChoice(lora, 0.5))]
    pictures = [make(maker, request(memory=1)) for maker in makers]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert makers[a].identity != makers[b].identity
        assert np.abs(pictures[a] - pictures[b]).max() > 1e-3
    assert maker_of(checkpoint, LoraChoice(lora)).identity == makers[1].identity


def test_a_copy_elsewhere_is_the_same_model(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    assert maker_of(tmp_path / "copy").identity == maker_of(checkpoint).identity


def test_the_first_shot_model_makes_what_sees_nothing_and_then_goes(checkpoint: Path, text_to_video: Path) -> None:
    maker = maker_of(checkpoint, first=ModelChoice("t2v", text_to_video, sampling={"shift": 12.0}))
    first = make(maker, request())
    assert maker._pipeline is not None
    held = weakref.ref(maker._pipeline.transformer)
    assert maker._pipeline.transformer.config.in_channels == 16
    make(maker, request(memory=1))
    gc.collect()
    assert held() is None, "the first model is still in memory beside the second"
    assert maker._pipeline.transformer.config.in_channels == 36
    alone = maker_of(text_to_video)
    expected = make(alone, replace(request(), sampling=replace(SMALL, shift=12.0)))
    assert np.array_equal(first, expected)
    assert maker.identity != maker_of(checkpoint).identity


def test_what_is_missing_is_said_before_anything_is_loaded(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing-here"):
        maker_of(checkpoint, LoraChoice(tmp_path / "nothing-here"))
    with pytest.raises(ModelError):
        maker_of(tmp_path)


def test_a_lora_for_another_model_is_an_error_not_silence(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lora"
    folder.mkdir()
    for path in (checkpoint / "StoryMem" / "Wan2.2-MI2V-A14B").glob("*.safetensors"):
        weights = load_file(path)
        save_file({key.replace("blocks.0", "blocks.7"): value for key, value in weights.items()}, folder / path.name)
    with pytest.raises(CheckpointError, match=r"blocks\.7"):
        make(maker_of(checkpoint, LoraChoice(folder)), request())


def test_a_lora_for_an_expert_that_is_not_there_is_an_error_not_silence(checkpoint: Path, tmp_path: Path) -> None:
    one = one_expert(checkpoint, tmp_path / "one")
    folder = checkpoint / "StoryMem" / "Wan2.2-MI2V-A14B"
    low = tmp_path / "style_low_noise.safetensors"
    shutil.copy(folder / "backbone_low_noise.safetensors", low)
    for lora in (low, folder):
        with pytest.raises(ModelError, match=r"this LoRA is for the low-noise expert, and test has one expert only"):
            maker_of(one, LoraChoice(lora))
    experts = tmp_path / "both.safetensors"  # told apart by what keys begin with, which is seen when it is read
    change = {"A": torch.randn(4, 48) / 10, "B": torch.randn(48, 4) / 10}  # a linear layer is as wide as the tiny model
    query = {f"blocks.0.attn1.to_q.lora_{part}.weight": value for part, value in change.items()}
    pair = {f"{name}.{key}": v.clone() for name in ("transformer", "transformer_2") for key, v in query.items()}
    save_file(pair, experts)
    with pytest.raises(ModelError, match="for the low-noise expert"):
        make(maker_of(one, LoraChoice(experts)), request())
    alike = tmp_path / "style.safetensors"  # for whatever expert there is
    save_file(query, alike)
    plain, styled = (make(maker_of(one, *loras), request()) for loras in ((), (LoraChoice(alike),)))
    assert np.abs(plain - styled).max() > 1e-3


def one_expert(checkpoint: Path, folder: Path) -> Path:
    """A diffusers folder with a single expert."""
    make_tiny(folder)
    shutil.rmtree(folder / "transformer_2")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"transformer_2": [None, None], "boundary_ratio": None}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_a_model_that_cannot_see_what_the_film_looks_at_is_refused(text_to_video: Path, checkpoint: Path) -> None:
    def refuse(script: str, *, memory: int = 10, **asked: str) -> None:
        settings = FilmSettings(sampling=SMALL, memory=MemoryConfig(capacity=memory, sink=min(memory, 3)))
        refuse_blind(resolve_model(ModelRequest(**asked)), parse_story(script, "a.yaml", None), settings)

    cuts = "title: A\nshots: [A fox., An owl.]\n"
    goes_on = "title: A\nshots: [A fox., {prompt: It runs., cut: false}]\n"
    low = text_to_video / "low_noise_model"
    for script, memory in ((cuts, 10), (goes_on, 10), (goes_on, 0)):
        with pytest.raises(ModelError, match=r"model is a text-to-video model, .* with --memory-size 0"):
            refuse(script, memory=memory, model=str(text_to_video))
        with pytest.raises(
            ModelError, match=r"low_noise_model: is of a text-to-video model, .*give a file of an image"
        ):
            refuse(script, memory=memory, model=str(checkpoint), transformer_2=str(low))
        refuse(script, memory=memory, model=str(checkpoint), first_shot_model=str(text_to_video))
        refuse(script, memory=memory)
    refuse(cuts, memory=0, model=str(text_to_video))  # every shot by itself
    refuse("title: A\nshots: [A fox.]\n", model=str(text_to_video))
    with pytest.raises(ModelError, match="give a file of an image"):  # the experts must be of one kind
        refuse(cuts, memory=0, model=str(checkpoint), transformer_2=str(low))


def test_an_attention_that_cannot_compute_is_refused_before_the_first_step(checkpoint: Path) -> None:
    runtime = Runtime(device="cpu", attention="_native_cudnn")
    maker = PipelineShotMaker(ModelChoice("test", checkpoint), runtime=runtime)
    with pytest.raises(SettingsError, match=r"'_native_cudnn' cannot be used here \(.*\): leave --attention out"):
        make(maker, request())
    PipelineShotMaker(ModelChoice("test", checkpoint), runtime=replace(runtime, attention="native"))


@pytest.mark.parametrize("options", [{"dtype": "int4"}, {"offload": "cloud"}])
def test_an_unknown_runtime_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="must be"):
        Runtime(**options)


def test_auto_is_what_the_machine_has() -> None:
    device, dtype = Runtime().resolve()
    assert dtype == (torch.float32 if device.type == "cpu" else torch.bfloat16)
    with pytest.raises(SettingsError, match="try cpu"):
        Runtime(device="cuda:99").resolve()


def test_names_become_weights_and_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STORYMEM_HOME", str(tmp_path))
    resolved = resolve_model(ModelRequest("tiny-random"))
    assert resolved.model.folder is not None
    assert (resolved.model.folder / "model_index.json").is_file()
    assert resolved.sampling["shift"] == 4.0
    assert "noise" in resolved.note
    for name, words in (
        ("wan2.2-t2v-a14b", "first-shot-model"),
        ("hpsv3", "cannot make a film"),
        ("storymem-mi2v", "download"),
    ):
        with pytest.raises(ModelError, match=words):
            resolve_model(ModelRequest(name))


def test_a_first_shot_model_that_is_not_distilled_takes_its_own_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("storymem.film.resolve.locate", lambda _: tmp_path)

    def sampled(*loras: str, **asked: int) -> tuple[SamplingConfig, SamplingConfig]:
        found = resolve_model(
            ModelRequest("storymem-mi2v", tuple((name, 1.0) for name in loras), first_shot_model="wan2.2-t2v-a14b")
        )
        assert found.first is not None
        film = replace(SamplingConfig(**found.sampling), **asked)
        return film, replace(film, **found.first.sampling)

    film, first = sampled("lightning-i2v")
    assert (film.num_inference_steps, film.solver, film.guidance_scale) == (4, "euler", 1.0)
    assert (first.num_inference_steps, first.solver, first.guidance_scale) == (40, "unipc", 4.0)
    assert [config.num_inference_steps for config in sampled()] == [40, 40]
    assert [config.num_inference_steps for config in sampled(num_inference_steps=30)] == [30, 30], (
        "the film says how many"
    )


def test_a_request_survives_json_and_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora").mkdir()
    asked = ModelRequest("tiny-random", loras=(("lora", 0.5), ("storymem-mi2v", 1.0)), transformer="high.gguf")
    again = ModelRequest.from_json(json.loads(json.dumps(asked.to_json())))
    assert again.model == "tiny-random"
    assert again.loras == ((str(tmp_path / "lora"), 0.5), ("storymem-mi2v", 1.0))
    assert again.transformer == str(tmp_path / "high.gguf")


def test_loras_carry_their_weight_behind_an_at(tmp_path: Path) -> None:
    assert parse_loras(["a@0.5", "b", "c@-1"]) == (("a", 0.5), ("b", 1.0), ("c", -1.0))
    odd = tmp_path / "x@y"
    odd.mkdir()
    assert parse_loras([str(odd)]) == ((str(odd), 1.0),)
    with pytest.raises(ModelError, match="not a weight"):
        parse_loras(["a@much"])


def test_a_plan_can_say_how_long_a_shot_takes_before_any_was_made(checkpoint: Path) -> None:
    work = work_of(ModelChoice("test", checkpoint))
    parts = load_components(checkpoint)
    assert work.weights == sum(parameter.numel() for parameter in parts.transformer.parameters())
    assert (work.width, work.layers, work.patch) == (96, 3, (1, 2, 2))
    assert (work.vae_patch, work.spatial_factor) == (1, 8)
    whole = work.operations(SMALL, 0)
    assert work.operations(SMALL, 10) > whole
    denoising = replace(work, vae_weights=0)
    assert denoising.operations(replace(SMALL, num_inference_steps=4), 0) == 2 * denoising.operations(SMALL, 0)
    assert work.operations(replace(SMALL, guidance_scale=1.0), 0) < whole
    led = replace(SMALL, memory_guidance_scale=2.0)
    assert work.operations(led, 0) == whole
    assert work.operations(led, 3) > work.operations(SMALL, 3)
    assert work.operations(replace(SMALL, num_frames=9), 0) > 1.5 * whole
    assert maker_of(checkpoint).estimate_seconds(SMALL, 0) > 0


def test_a_vae_that_folds_pixels_makes_large_pictures_of_few_tokens() -> None:
    work = work_of(ModelChoice("storyland", locate("storyland")))
    config = load_components(locate("storyland")).vae.config
    assert (work.vae_patch, work.spatial_factor) == (config.patch_size, config.scale_factor_spatial) == (4, 16)
    own = sampling_for(entry("storyland"))
    half = replace(own, width=own.width // 2, height=own.height // 2)
    unfolded = replace(work, vae_patch=2, spatial_factor=8)
    assert work.operations(own, 3) == unfolded.operations(half, 3)
    with pytest.raises(SettingsError, match="width is 208; it must be a multiple of 32, such as 192 or 224: a token"):
        work.operations(replace(own, width=208), 3)


@pytest.mark.parametrize("patch", [(1, 2, 2), (1, 1, 2)])
def test_the_operations_are_those_that_torch_counts(patch: tuple[int, int, int]) -> None:
    """Within 15 % (text and modulation see fewer tokens than assumed); on meta tensors, so nothing is computed."""
    from diffusers import WanTransformer3DModel
    from torch.utils.flop_counter import FlopCounterMode

    sampling = SamplingConfig(width=832, height=480, num_frames=41, num_inference_steps=1, guidance_scale=1.0)
    with torch.device("meta"):
        transformer = WanTransformer3DModel(
            patch_size=patch,
            num_attention_heads=8,
            attention_head_dim=128,
            num_layers=2,
            ffn_dim=4096,
            in_channels=36,
            out_channels=16,
            text_dim=4096,
        )
        latents, text = torch.zeros(1, 36, 11 + 3, 60, 104), torch.zeros(1, 512, 4096)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            transformer(latents, torch.zeros(1), text, return_dict=False)
    weights = sum(parameter.numel() for parameter in transformer.parameters())
    assert Work(weights, 1024, 2, 0, patch).operations(sampling, 3) == pytest.approx(
        counter.get_total_flops(), rel=0.15
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_says_what_helps(error: Exception) -> None:
    with pytest.raises(ModelError, match="--offload"), _enough_memory(SMALL):
        raise error
    with pytest.raises(RuntimeError, match="shape"), _enough_memory(SMALL):
        raise RuntimeError("wrong shape")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")]
)
def test_weights_that_do_not_fit_are_one_sentence(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def place(*_: object) -> None:
        raise error

    monkeypatch.setattr("storymem.film.pipeline_maker._place", place)
    with pytest.raises(ModelError, match="while the weights were loaded: try --offload model or group"):
        make(maker_of(checkpoint), request())


def test_an_error_of_another_kind_is_not_taken_for_memory() -> None:
    with pytest.raises(NotImplementedError), _enough_memory(SMALL):
        raise NotImplementedError("no such operator")


class Placed:
    """A pipeline that notes how it is offloaded."""

    def __init__(self, weight: torch.nn.Parameter) -> None:
        self.transformer = torch.nn.Linear(1, 1)
        self.transformer.weight = weight
        self.transformer_2 = None
        self.asked: dict[str, object] = {}

    def enable_group_offload(self, **options: object) -> None:
        self.asked = options

    def enable_sequential_cpu_offload(self, device: torch.device) -> None:
        self.asked = {"device": device}


def test_group_offload_pins_a_layer_at_a_time() -> None:
    pipeline = Placed(torch.nn.Parameter(torch.zeros(1, 1)))
    _place(pipeline, torch.device("cuda"), "group")
    assert pipeline.asked["use_stream"]
    assert pipeline.asked["low_cpu_mem_usage"]
    assert pipeline.asked["exclude_modules"] == "vae"  # which is not called by `forward`, so nothing is fetched ahead


def test_gguf_weights_are_not_offloaded_layer_by_layer() -> None:
    _place(Placed(torch.nn.Parameter(torch.zeros(1, 1))), torch.device("cuda"), "sequential")
    quantized = GGUFParameter(torch.zeros(1, 34, dtype=torch.uint8), quant_type=gguf.GGMLQuantizationType.Q8_0)
    with pytest.raises(SettingsError, match="use --offload group"):
        _place(Placed(quantized), torch.device("cuda"), "sequential")


def test_a_shot_that_no_machine_can_hold_is_one_sentence(checkpoint: Path) -> None:
    huge = replace(request(), sampling=replace(SMALL, width=MAX_SIZE, height=MAX_SIZE, num_frames=(1 << 24) + 1))
    with pytest.raises(ModelError, match="smaller --size"):
        make(maker_of(checkpoint), huge)
