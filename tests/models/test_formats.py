"""Every on-disk format, each shown by a tiny checkpoint written in it: the same weights come out of all of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from diffusers import WanTransformer3DModel
from diffusers.quantizers.gguf.utils import GGUFLinear
from safetensors.torch import load_file, save_file

from storymem.errors import CheckpointError, ModelError
from storymem.models.checkpoints import Components, load_components
from storymem.models.tiny import make_tiny
from storymem.pipeline import StoryMemPipeline

State = dict[str, torch.Tensor]
Run = Callable[[torch.nn.Module], torch.Tensor]


def expert(folder: Path, **kwargs: object) -> torch.nn.Module:
    parts = load_components(folder, only={"transformer"}, **kwargs)
    assert parts.transformer is not None
    return parts.transformer


def single(file: Path, **kwargs: object) -> torch.nn.Module:
    return expert(None, transformer=file, num_heads=4, **kwargs)  # type: ignore[arg-type]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_original_folder(checkpoint: Path) -> None:
    parts = load_components(checkpoint)
    config = parts.transformer.config
    assert (config.num_layers, config.num_attention_heads, config.attention_head_dim) == (3, 4, 24)
    assert (config.in_channels, config.out_channels, config.text_dim, config.ffn_dim) == (36, 16, 64, 160)
    assert parts.boundary_ratio == 0.9
    assert parts.vae.config.base_dim == 8
    assert parts.text_encoder.config.num_heads == 4
    assert parts.tokenizer("a fox").input_ids[-1] == 1
    assert not same(parts.transformer, parts.transformer_2)
    assert all(not p.is_meta for module in (parts.transformer, parts.vae) for p in module.parameters())
    for module in (parts.transformer, parts.vae, parts.text_encoder):
        assert not module.training
        assert not any(p.requires_grad for p in module.parameters())
    assert set(parts.files) == {"transformer", "transformer_2", "vae", "text_encoder", "tokenizer"}


def test_original_names_land_where_they_belong(checkpoint: Path, original: State) -> None:
    state = expert(checkpoint).state_dict()
    for old, new in {
        "blocks.2.self_attn.q.weight": "blocks.2.attn1.to_q.weight",
        "blocks.1.cross_attn.o.bias": "blocks.1.attn2.to_out.0.bias",
        "blocks.0.norm3.weight": "blocks.0.norm2.weight",
        "blocks.0.ffn.0.weight": "blocks.0.ffn.net.0.proj.weight",
        "head.modulation": "scale_shift_table",
        "time_projection.1.weight": "condition_embedder.time_proj.weight",
    }.items():
        assert torch.equal(state[new], original[old])


def test_rope_tables_are_computed_though_they_are_in_no_file(checkpoint: Path) -> None:
    loaded = expert(checkpoint)
    fresh = WanTransformer3DModel(**{k: v for k, v in loaded.config.items() if not k.startswith("_")})
    assert torch.equal(loaded.rope.freqs_cos, fresh.rope.freqs_cos)
    assert not any(buffer.is_meta for buffer in loaded.buffers())


def test_one_tensor_under_two_names_is_one_parameter(checkpoint: Path) -> None:
    encoder = load_components(checkpoint, only={"text_encoder"}, dtype=torch.bfloat16).text_encoder
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight


def test_only_what_is_asked_for_is_loaded(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint / "low_noise_model", tmp_path / "low_noise_model")
    parts = load_components(tmp_path, only={"transformer_2"})
    assert parts.transformer_2 is not None
    assert parts.transformer is None
    assert parts.boundary_ratio == 0.9
    with pytest.raises(ModelError, match=r"vae cannot be found; looked for .*Wan2\.1_VAE\.pth.*found low_noise_model"):
        load_components(tmp_path, only={"vae"})


def test_an_original_folder_without_its_second_expert_is_incomplete(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "model", ignore=shutil.ignore_patterns("low_noise_model"))
    with pytest.raises(ModelError, match="transformer_2 cannot be found"):
        load_components(tmp_path / "model")


def test_boundary_of_the_text_to_video_model(checkpoint: Path, tmp_path: Path, original: State) -> None:
    for name in ("high_noise_model", "low_noise_model"):
        (tmp_path / name).mkdir()
        state = {**original, "patch_embedding.weight": original["patch_embedding.weight"][:, :16].contiguous()}
        save_file(state, tmp_path / name / "diffusion_pytorch_model.safetensors")
        config = json.loads((checkpoint / name / "config.json").read_text()) | {"in_dim": 16, "model_type": "t2v"}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    assert load_components(tmp_path, only={"transformer", "transformer_2"}).boundary_ratio == 0.875


def shard(state: State, folder: Path) -> None:
    names = sorted(state)
    files = {name: f"diffusion_pytorch_model-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: state[name] for name in names if files[name] == file}, folder / file)
    index = {"metadata": {}, "weight_map": files}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture
def sharded(checkpoint: Path, tmp_path: Path, original: State) -> Path:
    folder = tmp_path / "model" / "high_noise_model"
    folder.mkdir(parents=True)
    shutil.copy(checkpoint / "high_noise_model" / "config.json", folder)
    shard(original, folder)
    return folder


def test_sharded_safetensors_with_index(checkpoint: Path, sharded: Path) -> None:
    assert same(expert(sharded.parent), expert(checkpoint))


def test_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"00002-of-00002\.safetensors: this shard is missing"):
        expert(sharded.parent)


def test_index_and_shards_that_disagree(sharded: Path) -> None:
    index = sharded / "diffusion_pytorch_model.safetensors.index.json"
    data = json.loads(index.read_text())
    kept = dict(data)
    data["weight_map"] = {k: v for k, v in data["weight_map"].items() if k != "head.modulation"}
    index.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"holds head\.modulation, unknown to"):
        expert(sharded.parent)
    kept["weight_map"] = {**kept["weight_map"], "extra.weight": next(iter(kept["weight_map"].values()))}
    index.write_text(json.dumps(kept))
    with pytest.raises(CheckpointError, match=r"lacks extra\.weight"):
        expert(sharded.parent)


def test_index_that_points_out_of_its_folder(sharded: Path) -> None:
    index = sharded / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    with pytest.raises(CheckpointError, match="must lie beside the index"):
        expert(sharded.parent)


def test_diffusers_folder(tmp_path: Path) -> None:
    make_tiny(tmp_path / "tiny")
    parts: Components = load_components(tmp_path / "tiny")
    theirs = WanTransformer3DModel.from_pretrained(tmp_path / "tiny", subfolder="transformer_2")
    assert same(parts.transformer_2, theirs)
    assert parts.boundary_ratio == 0.9
    assert parts.transformer_2.config.num_attention_heads == 2


def test_diffusers_folder_that_lost_a_component(tmp_path: Path) -> None:
    make_tiny(tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny" / "transformer_2")
    with pytest.raises(ModelError, match=r"transformer_2 cannot be found; model_index\.json"):
        load_components(tmp_path / "tiny")


def test_diffusers_folder_with_one_expert(tmp_path: Path) -> None:
    make_tiny(tmp_path / "tiny")
    index = json.loads((tmp_path / "tiny" / "model_index.json").read_text())
    index |= {"transformer_2": [None, None], "boundary_ratio": None}
    (tmp_path / "tiny" / "model_index.json").write_text(json.dumps(index))
    parts = load_components(tmp_path / "tiny")
    assert parts.transformer_2 is None
    assert parts.boundary_ratio is None


def test_diffusers_folder_with_quantized_weights_is_refused(tmp_path: Path) -> None:
    make_tiny(tmp_path / "tiny")
    config = tmp_path / "tiny" / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": {"quant_method": "bnb"}}))
    with pytest.raises(CheckpointError, match=r"quantized \(bnb\)"):
        expert(tmp_path / "tiny")


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_single_file_as_comfyui_ships_it(checkpoint: Path, tmp_path: Path, original: State, prefix: str) -> None:
    file = tmp_path / "wan2.2_i2v_high_noise_14B_fp16.safetensors"
    save_file({prefix + name: tensor for name, tensor in original.items()}, file)
    assert same(single(file), expert(checkpoint))


def test_single_files_over_a_folder(checkpoint: Path, tmp_path: Path, original: State) -> None:
    file = tmp_path / "low.safetensors"
    save_file({name: tensor + 1 for name, tensor in original.items()}, file)
    parts = load_components(checkpoint, transformer_2=file)
    assert torch.equal(parts.transformer_2.proj_out.bias, parts.transformer.proj_out.bias + 1)
    assert parts.transformer_2.config.num_attention_heads == 4  # no shape tells; the expert of the folder does


def test_single_file_over_a_diffusers_folder(checkpoint: Path, tmp_path: Path, original: State) -> None:
    StoryMemPipeline.from_components(load_components(checkpoint)).save_pretrained(tmp_path / "diffusers")
    save_file(original, tmp_path / "high.safetensors")
    parts = load_components(tmp_path / "diffusers", transformer=tmp_path / "high.safetensors", only={"transformer"})
    assert parts.transformer.config.num_attention_heads == 4


def test_single_file_without_config_needs_the_heads(tmp_path: Path, original: State) -> None:
    save_file(original, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"96 channels and no config\.json.*num_heads"):
        load_components(transformer=tmp_path / "a.safetensors", only={"transformer"})
    with pytest.raises(CheckpointError, match="cannot be shared out among 5"):
        load_components(transformer=tmp_path / "a.safetensors", only={"transformer"}, num_heads=5)


def test_comfyui_vae_and_text_encoder(checkpoint: Path, tmp_path: Path) -> None:
    from_folder = load_components(checkpoint, only={"vae", "text_encoder"})
    vae = torch.load(checkpoint / "Wan2.1_VAE.pth", weights_only=True)
    save_file(vae, tmp_path / "wan_2.1_vae.safetensors")
    # ComfyUI's encoder has transformers' names, and the tokenizer's model among the tensors.
    encoder = {k: v.clone() for k, v in from_folder.text_encoder.state_dict().items() if "embed_tokens" not in k}
    save_file({**encoder, "spiece_model": torch.zeros(9, dtype=torch.uint8)}, tmp_path / "umt5_xxl_fp16.safetensors")
    parts = load_components(
        vae=tmp_path / "wan_2.1_vae.safetensors",
        text_encoder=tmp_path / "umt5_xxl_fp16.safetensors",
        only={"vae", "text_encoder"},
    )
    assert same(parts.vae, from_folder.vae)
    assert same(parts.text_encoder, from_folder.text_encoder)


def fp8_scaled(state: State, *, newer: bool) -> State:
    """As ComfyUI's converter does it: linear weights over their scale, in fp8."""
    out: State = {} if newer else {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for name, tensor in state.items():
        if tensor.ndim == 2 and name.startswith("blocks."):
            base = name.removesuffix(".weight")
            scale = tensor.abs().max() / 448
            out[name] = (tensor / scale).to(torch.float8_e4m3fn)
            if newer:
                out[f"{base}.weight_scale"] = scale
                note = json.dumps({"format": "float8_e4m3fn"}).encode()
                out[f"{base}.comfy_quant"] = torch.tensor(list(note), dtype=torch.uint8)
            else:
                out[f"{base}.scale_weight"] = scale.reshape(1)
        else:
            out[name] = tensor
    return out


@pytest.mark.parametrize("newer", [False, True])
def test_scaled_fp8_is_multiplied_out(checkpoint: Path, tmp_path: Path, original: State, run: Run, newer: bool) -> None:
    save_file(fp8_scaled(original, newer=newer), tmp_path / "fp8.safetensors")
    loaded = single(tmp_path / "fp8.safetensors", dtype=torch.float32)
    # 3 mantissa bits: a relative error of at most 1/16 per weight.
    exact = original["blocks.0.ffn.0.weight"]
    assert difference(loaded.blocks[0].ffn.net[0].proj.weight, exact) < 0.05
    assert difference(run(loaded), run(expert(checkpoint))) < 0.1


def test_fp8_without_scales_is_read_as_it_is(tmp_path: Path, original: State) -> None:
    state = {k: v.to(torch.float8_e4m3fn) if v.ndim == 2 else v for k, v in original.items()}
    save_file(state, tmp_path / "fp8.safetensors")
    weight = single(tmp_path / "fp8.safetensors").blocks[0].attn1.to_q.weight
    assert weight.dtype == torch.bfloat16
    assert torch.equal(weight, state["blocks.0.self_attn.q.weight"].to(torch.bfloat16))


def test_other_quantizations_of_comfyui_are_named(tmp_path: Path, original: State) -> None:
    name = "blocks.0.self_attn.q"
    state = {**original, f"{name}.weight_scale": torch.ones(()), f"{name}.weight": torch.zeros(96, 96).to(torch.int8)}
    save_file(state, tmp_path / "int8.safetensors")
    with pytest.raises(CheckpointError, match=r"blocks\.0\.self_attn\.q\.weight is quantized as I8"):
        single(tmp_path / "int8.safetensors")
    note = torch.tensor(list(b'{"format": "mxfp8"}'), dtype=torch.uint8)
    save_file({**fp8_scaled(original, newer=True), f"{name}.comfy_quant": note}, tmp_path / "mx.safetensors")
    with pytest.raises(CheckpointError, match="comfy_quant says 'mxfp8'"):
        single(tmp_path / "mx.safetensors")


def write_gguf(state: State, file: Path, kind: gguf.GGMLQuantizationType) -> None:
    """As ComfyUI-GGUF's converter does it: matrices of the blocks quantized, the rest in F32."""
    writer = gguf.GGUFWriter(file, "wan")
    for name, tensor in state.items():
        array = tensor.float().numpy()
        if tensor.ndim == 2 and name.startswith("blocks."):
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0"])
def test_gguf_expanded_while_loading(checkpoint: Path, tmp_path: Path, original: State, run: Run, kind: str) -> None:
    write_gguf(original, tmp_path / "a.gguf", gguf.GGMLQuantizationType[kind])
    loaded = single(tmp_path / "a.gguf", dtype=torch.float32, quantized=False)
    assert loaded.blocks[0].attn1.to_q.weight.dtype == torch.float32
    bound = {"F16": 1e-3, "BF16": 1e-2, "Q8_0": 0.02, "Q4_0": 0.3}[kind]
    assert difference(run(loaded), run(expert(checkpoint))) < bound


def test_gguf_kept_quantized_computes_the_same_as_expanded(tmp_path: Path, original: State, run: Run) -> None:
    write_gguf(original, tmp_path / "a.gguf", gguf.GGMLQuantizationType.Q8_0)
    kept = single(tmp_path / "a.gguf", dtype=torch.float32)
    layers = [module for module in kept.modules() if isinstance(module, GGUFLinear)]
    assert len(layers) == 3 * 10
    assert all(layer.weight.dtype == torch.uint8 for layer in layers)
    expanded = single(tmp_path / "a.gguf", dtype=torch.float32, quantized=False)
    assert difference(run(kept), run(expanded)) < 1e-3


def test_gguf_in_bfloat16_by_default(tmp_path: Path, original: State, run: Run) -> None:
    write_gguf(original, tmp_path / "a.gguf", gguf.GGMLQuantizationType.Q8_0)
    kept = single(tmp_path / "a.gguf")
    assert kept.patch_embedding.weight.dtype == torch.bfloat16
    assert kept.blocks[0].norm2.weight.dtype == torch.float32
    assert torch.isfinite(run(kept)).all()


def test_gguf_tensor_whose_shape_is_noted(tmp_path: Path, original: State, checkpoint: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "wan")
    for name, tensor in original.items():
        array = tensor.numpy()
        if tensor.ndim == 5:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(tensor.shape))
            array = array.reshape(96, -1)
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    loaded = single(tmp_path / "a.gguf", dtype=torch.float32)
    assert same(loaded, expert(checkpoint))


def test_gguf_that_was_cut_short(tmp_path: Path, original: State) -> None:
    write_gguf(original, tmp_path / "a.gguf", gguf.GGMLQuantizationType.Q8_0)
    whole = (tmp_path / "a.gguf").read_bytes()
    for size in (0, 20, len(whole) // 2):
        (tmp_path / "b.gguf").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="not a whole GGUF file"):
            single(tmp_path / "b.gguf")


def test_all_weights_survive_a_trip_through_diffusers(checkpoint: Path, tmp_path: Path) -> None:
    ours = expert(checkpoint)
    ours.save_pretrained(tmp_path / "transformer")
    again = load_components(transformer=tmp_path / "transformer", only={"transformer"}).transformer
    assert same(ours, again)
    assert (
        load_file(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").keys() == ours.state_dict().keys()
    )
