"""What does not fit is an error that names the file and the key; types, devices and files are treated as promised."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from storymem.errors import CheckpointError, ModelError
from storymem.models.checkpoints import load_components
from storymem.models.lora import load_lora, merge_lora

State = dict[str, torch.Tensor]
Q = "blocks.0.self_attn.q.weight"


def load(file: Path) -> None:
    load_components(transformer=file, only={"transformer"}, num_heads=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != Q}, r"blocks\.0\.attn1\.to_q\.weight is missing"),
        (lambda s: {**s, "blocks.0.surprise": torch.zeros(1)}, r"blocks\.0\.surprise is not part of the model"),
        (lambda s: {**s, Q: torch.zeros(96, 95)}, r"attn1\.to_q\.weight has shape \[96, 95\] instead of \[96, 96\]"),
        (lambda s: {k: v for k, v in s.items() if ".1.ffn." not in k}, r"1\.ffn.*are missing"),
        (lambda s: {k: v for k, v in s.items() if "patch" not in k}, "no Wan transformer: it has no patch_embedding"),
        (lambda s: {"a": torch.zeros(1)}, "no Wan transformer"),
        (lambda s: {}, "no Wan transformer"),
    ],
    ids=["missing", "unexpected", "shape", "many", "no patch", "something else", "empty"],
)
def test_a_key_that_does_not_fit_is_named(
    tmp_path: Path, original: State, change: Callable[[State], State], message: str
) -> None:
    file = tmp_path / "a.safetensors"
    save_file(change(original), file)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(file)
    assert str(file) in str(caught.value)


def test_many_wrong_keys_are_counted(tmp_path: Path, original: State) -> None:
    save_file({k: v for k, v in original.items() if "blocks.1." not in k}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"and \d+ more are missing") as caught:
        load(tmp_path / "a.safetensors")
    assert len(str(caught.value)) < 600


def test_config_that_contradicts_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint / "high_noise_model", tmp_path / "high_noise_model")
    path = tmp_path / "high_noise_model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_layers": 4}))
    with pytest.raises(CheckpointError, match=r"its num_layers is 3, but config\.json says 4"):
        load_components(tmp_path, only={"transformer"})
    path.write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        load_components(tmp_path, only={"transformer"})


def test_vae_and_text_encoder_with_wrong_keys(checkpoint: Path, tmp_path: Path) -> None:
    vae = torch.load(checkpoint / "Wan2.1_VAE.pth", weights_only=True)
    vae["decoder.middle.0.residual.2.extra"] = vae.pop("decoder.middle.0.residual.2.weight")
    torch.save(vae, tmp_path / "Wan2.1_VAE.pth")
    with pytest.raises(
        CheckpointError, match=r"resnets\.0\.conv1\.weight is missing; decoder\.middle\.0\.residual\.2\.extra"
    ):
        load_components(vae=tmp_path / "Wan2.1_VAE.pth", only={"vae"})
    encoder = torch.load(checkpoint / "models_t5_umt5-xxl-enc-bf16.pth", weights_only=True)
    del encoder["blocks.1.pos_embedding.embedding.weight"]
    torch.save(encoder, tmp_path / "t5.pth")
    with pytest.raises(
        CheckpointError, match=r"block\.1\.layer\.0\.SelfAttention\.relative_attention_bias\.weight is missing"
    ):
        load_components(text_encoder=tmp_path / "t5.pth", only={"text_encoder"})


def test_the_other_wan_vae_is_told_apart(checkpoint: Path, tmp_path: Path) -> None:
    vae = torch.load(checkpoint / "Wan2.1_VAE.pth", weights_only=True)
    vae["encoder.downsamples.0.downsamples.0.residual.0.gamma"] = torch.zeros(1)
    torch.save(vae, tmp_path / "v.pth")
    with pytest.raises(CheckpointError, match="TI2V-5B"):
        load_components(vae=tmp_path / "v.pth", only={"vae"})


class Boom:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/storymem-boom"),))  # type: ignore[return-value]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    marker = Path("/tmp/storymem-boom")
    marker.unlink(missing_ok=True)
    torch.save({"a": torch.zeros(1), "b": Boom()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps({"b": Boom()}))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(CheckpointError, match=r"not opened|cannot be read"):
            load(tmp_path / name)
    assert not marker.exists()


def test_pth_of_other_shapes(tmp_path: Path, original: State, checkpoint: Path) -> None:
    torch.save({"state_dict": original}, tmp_path / "wrapped.pth")
    load(tmp_path / "wrapped.pth")
    torch.save(original, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    load(tmp_path / "old.pth")
    torch.save({**original, "epoch": 3}, tmp_path / "training.pth")
    with pytest.raises(CheckpointError, match="'epoch' is not a tensor"):
        load(tmp_path / "training.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        load(tmp_path / "list.pth")


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_files_that_were_cut_short(tmp_path: Path, original: State, name: str) -> None:
    file = tmp_path / name
    save_file(original, file) if name.endswith("s") else torch.save(original, file)
    whole = file.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=name):
            load(file)


def test_a_file_of_no_known_kind(tmp_path: Path) -> None:
    (tmp_path / "weights.txt").write_text("1 2 3")
    with pytest.raises(ModelError, match=r"\.safetensors, \.gguf and \.pth"):
        load(tmp_path / "weights.txt")
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "nothing.safetensors")
    with pytest.raises(ModelError, match="no such folder"):
        load_components(tmp_path / "nothing")
    with pytest.raises(ModelError, match="no component 'transfomer'"):
        load_components(tmp_path, only={"transfomer"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no weights there"):
        load(tmp_path / "empty")


def test_dtype_keeps_in_float32_what_diffusers_keeps(checkpoint: Path) -> None:
    parts = load_components(checkpoint, dtype=torch.bfloat16)
    block = parts.transformer.blocks[0]
    assert block.attn1.to_q.weight.dtype == torch.bfloat16
    for tensor in (
        block.norm2.weight,
        block.scale_shift_table,
        parts.transformer.condition_embedder.time_embedder.linear_1.weight,
    ):
        assert tensor.dtype == torch.float32
    assert parts.vae.encoder.conv_in.weight.dtype == torch.float32
    assert parts.text_encoder.dtype == torch.bfloat16
    half = load_components(checkpoint, dtype=torch.float16, vae_dtype=torch.float16)
    feed_forward = half.text_encoder.encoder.block[0].layer[1].DenseReluDense
    assert (feed_forward.wi_0.weight.dtype, feed_forward.wo.weight.dtype) == (torch.float16, torch.float32)
    assert half.vae.encoder.conv_in.weight.dtype == torch.float16


def test_the_files_dtype_is_kept_by_default(tmp_path: Path, original: State) -> None:
    save_file({k: v.to(torch.bfloat16) for k, v in original.items()}, tmp_path / "a.safetensors")
    loaded = load_components(transformer=tmp_path / "a.safetensors", only={"transformer"}, num_heads=4).transformer
    assert loaded.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16


def test_merging_never_writes_into_the_mapped_files(checkpoint: Path, lora_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    torch.save(
        torch.load(checkpoint / "models_t5_umt5-xxl-enc-bf16.pth", weights_only=True),
        folder / "models_t5_umt5-xxl-enc-bf16.pth",
    )
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    parts = load_components(folder)
    merge_lora(parts.transformer, load_lora(lora_folder).high)
    with torch.no_grad():
        for module in (parts.transformer, parts.text_encoder, parts.vae):
            for parameter in module.parameters():
                parameter.zero_()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_loading_leaves_the_random_numbers_of_others_alone(checkpoint: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_components(checkpoint, only={"transformer"})
    assert torch.equal(torch.rand(3), expected)
