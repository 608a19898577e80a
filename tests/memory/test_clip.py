from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_pictures import shot
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from storymem.errors import CheckpointError, ModelError
from storymem.memory.clip import ClipEncoder
from storymem.memory.encoders import load_encoder

VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": 16,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)).save_pretrained(path)
    return path


def by_hand(folder: Path, frames: np.ndarray) -> np.ndarray:
    """The method's words in other ones: bilinear sampling at pixel centres, CLIP's constants, the model, unit norm."""
    _, _, height, width = frames.shape
    pixels = np.clip((frames.astype(np.float64) + 1) / 2, 0, 1)

    def sampled(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = np.clip((np.arange(32) + 0.5) * size / 32 - 0.5, 0, size - 1)
        low = np.floor(places).astype(int)
        return low, np.minimum(low + 1, size - 1), places - low

    (y0, y1, fy), (x0, x1, fx) = sampled(height), sampled(width)
    rows = pixels[:, :, y0] * (1 - fy)[:, None] + pixels[:, :, y1] * fy[:, None]
    small = rows[..., x0] * (1 - fx) + rows[..., x1] * fx
    mean = np.array([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = np.array([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    model = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    with torch.no_grad():
        features = model(pixel_values=torch.tensor((small - mean) / std, dtype=torch.float32)).image_embeds.numpy()
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_equals_a_computation_by_hand(folder: Path) -> None:
    frames = shot(0, 5, size=(60, 104))
    encoder = ClipEncoder.load(folder)
    embeddings = encoder.encode(frames)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (5, encoder.dimension) == (5, 16)
    np.testing.assert_allclose(embeddings, by_hand(folder, frames), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_batches_do_not_change_the_result(folder: Path) -> None:
    frames = shot(0, 40, size=(36, 64))  # more than one batch
    encoder = ClipEncoder.load(folder)
    together = encoder.encode(frames)
    np.testing.assert_allclose(together[35], encoder.encode(frames[35:36])[0], atol=1e-5)
    assert encoder.encode(frames[:0]).shape == (0, 16)


def test_read_only_frames(folder: Path) -> None:
    frames = shot(0, 2, size=(36, 64))
    frames.setflags(write=False)
    assert np.isfinite(ClipEncoder.load(folder).encode(frames)).all()


def test_half_precision_is_near(folder: Path) -> None:
    frames = shot(0, 3, size=(36, 64))
    exact, rounded = (ClipEncoder.load(folder, dtype=dtype) for dtype in (None, "bfloat16"))
    difference = np.abs(exact.encode(frames) - rounded.encode(frames)).max()
    assert 0 < difference < 0.05
    assert exact.identity != rounded.identity


def test_a_whole_clip_model_will_do(folder: Path, tmp_path: Path) -> None:
    text = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "vocab_size": 99,
    }
    whole = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16))
    vision = CLIPVisionModelWithProjection.from_pretrained(folder)
    whole.vision_model.load_state_dict(vision.vision_model.state_dict())
    whole.visual_projection.load_state_dict(vision.visual_projection.state_dict())
    whole.save_pretrained(tmp_path)
    frames = shot(0, 2, size=(36, 64))
    embeddings = ClipEncoder.load(tmp_path).encode(frames)
    np.testing.assert_array_equal(embeddings, ClipEncoder.load(folder).encode(frames))


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    model = CLIPVisionModelWithProjection.from_pretrained(folder)
    weights = model.state_dict()
    del weights["visual_projection.weight"]
    model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(CheckpointError, match=r"visual_projection\.weight"):
        ClipEncoder.load(tmp_path)


def test_weights_that_were_cut_off(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        data = file.read_bytes()
        (tmp_path / file.name).write_bytes(data[: len(data) // 2] if file.suffix == ".safetensors" else data)
    with pytest.raises(CheckpointError, match="weights of CLIP are damaged or cut off"):
        ClipEncoder.load(tmp_path)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"CLIP cannot be read from .* or choose the frame encoder 'builtin'"):
        ClipEncoder.load(tmp_path)


def test_identity_follows_the_weights(folder: Path, tmp_path: Path) -> None:
    other = CLIPVisionModelWithProjection.from_pretrained(folder)
    with torch.no_grad():
        other.visual_projection.weight[0, 0] += 1e-3
    other.save_pretrained(tmp_path)
    identities = {ClipEncoder.load(path).identity for path in (folder, folder, tmp_path)}
    assert len(identities) == 2


def test_loaded_by_name_and_folder_only_once(folder: Path) -> None:
    first = load_encoder(str(folder))
    assert isinstance(first, ClipEncoder)
    assert load_encoder(str(folder)) is first
    named = load_encoder("clip-vit-b32", path=folder)
    assert named is not first
    assert load_encoder("clip-vit-b32", path=folder) is named
