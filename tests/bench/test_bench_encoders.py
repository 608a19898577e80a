"""ViCLIP and the aesthetic head at tiny size: against transformers' CLIP, and from files."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection

from storymem.bench.aesthetic import LaionJudge
from storymem.bench.clip_pixels import clip_pixels
from storymem.bench.encoders import BuiltinVideoEncoder, load_judge, load_video_encoder
from storymem.bench.features import shot_features
from storymem.bench.films import find_films, open_film
from storymem.bench.score import Instruments, score_folder
from storymem.bench.viclip import ViClipEncoder, clip_tokenizer
from storymem.bench.viclip_network import ViClip, ViClipShape
from storymem.errors import CheckpointError, ModelError, SettingsError
from storymem.media import write_video

TINY = ViClipShape(
    side=32, patch=8, frames=8, vision_width=32, vision_layers=2, vision_heads=4, text_width=24, text_layers=2,
    text_heads=3, context=16, vocabulary=600, dimension=20,
)  # fmt: skip


def frames(count: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, 40, 64)).astype(np.float32)


def tiny_clip() -> CLIPModel:
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={"hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3,
                     "vocab_size": 600, "max_position_embeddings": 16, "projection_dim": 20, "eos_token_id": 599},
        vision_config={"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "image_size": 32, "patch_size": 8, "projection_dim": 20},
        projection_dim=20,
    )  # fmt: skip
    return CLIPModel(config).eval()


def renamed(clip: CLIPModel) -> dict[str, torch.Tensor]:
    """The weights of transformers' CLIP under the names of ViCLIP, with no temporal embedding."""
    source, state = clip.state_dict(), {}
    for ours, theirs, norms in (
        ("vision_encoder", "vision_model", {"ln_pre": "pre_layrnorm", "ln_post": "post_layernorm"}),
        ("text_encoder", "text_model", {"ln_final": "final_layer_norm"}),
    ):
        for name, other in norms.items():
            for kind in ("weight", "bias"):
                state[f"{ours}.{name}.{kind}"] = source[f"{theirs}.{other}.{kind}"]
        for layer in range(2):
            one, two = f"{ours}.transformer.resblocks.{layer}", f"{theirs}.encoder.layers.{layer}"
            for kind in ("weight", "bias"):
                parts = [source[f"{two}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                state[f"{one}.attn.in_proj_{kind}"] = torch.cat(parts)
                state[f"{one}.attn.out_proj.{kind}"] = source[f"{two}.self_attn.out_proj.{kind}"]
                state[f"{one}.mlp.c_fc.{kind}"] = source[f"{two}.mlp.fc1.{kind}"]
                state[f"{one}.mlp.c_proj.{kind}"] = source[f"{two}.mlp.fc2.{kind}"]
                state[f"{one}.ln_1.{kind}"] = source[f"{two}.layer_norm1.{kind}"]
                state[f"{one}.ln_2.{kind}"] = source[f"{two}.layer_norm2.{kind}"]
    embeddings = "vision_model.embeddings"
    state["vision_encoder.conv1.weight"] = source[f"{embeddings}.patch_embedding.weight"][:, :, None]
    state["vision_encoder.class_embedding"] = source[f"{embeddings}.class_embedding"]
    state["vision_encoder.positional_embedding"] = source[f"{embeddings}.position_embedding.weight"]
    state["vision_encoder.temporal_positional_embedding"] = torch.zeros(1, 1, 32)
    state["vision_encoder.proj"] = source["visual_projection.weight"].T
    state["text_encoder.token_embedding.weight"] = source["text_model.embeddings.token_embedding.weight"]
    state["text_encoder.positional_embedding"] = source["text_model.embeddings.position_embedding.weight"]
    state["text_encoder.text_projection"] = source["text_projection.weight"].T
    state["temp"] = torch.tensor(0.01)
    return state


def test_with_one_frame_the_network_is_clip() -> None:
    clip = tiny_clip()
    network = ViClip(replace(TINY, frames=1)).eval()
    network.load_state_dict(renamed(clip))
    pixels = torch.from_numpy(frames(3)[:, :, :32, :32].copy())
    tokens = torch.tensor([[1, 5, 9, 599, *[0] * 12], [1, 7, 8, 3, 2, 599, *[0] * 10]])
    with torch.inference_mode():
        vision, text = network.vision_encoder(pixels[:, None]), network.text_encoder(tokens)
        theirs = clip.vision_model(pixels).pooler_output @ clip.visual_projection.weight.T
        theirs_text = clip.text_model(tokens).pooler_output @ clip.text_projection.weight.T
    torch.testing.assert_close(vision, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text, theirs_text, atol=1e-5, rtol=1e-5)


MERGES = ["#version: 0.2", "c a", "ca t</w>", "t h", "th e</w>", "l a", "la m", "lam p</w>", "n i", "ni g"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As the hub's: weights and merges."""
    torch.manual_seed(1)
    place = tmp_path / "viclip"
    place.mkdir()
    model = ViClip(TINY)
    state = {name: torch.randn_like(value) * 0.1 for name, value in model.state_dict().items()}
    save_file(state, place / "model.safetensors")
    (place / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress("\n".join(MERGES).encode()))
    return place


def test_the_tokenizer_follows_from_the_merges(folder: Path) -> None:
    tokenizer = clip_tokenizer(folder / "bpe_simple_vocab_16e6.txt.gz")
    assert isinstance(tokenizer, CLIPTokenizer)
    start, end = 512 + len(MERGES) - 1, 512 + len(MERGES)
    assert tokenizer("The cat")["input_ids"] == [start, 512 + 3, 512 + 1, end]
    # "!" is the first letter of CLIP's vocabulary, and its form at a word's end the 257th.
    assert tokenizer("!")["input_ids"] == [start, 256, end]
    assert tokenizer("A")["input_ids"] == [start, 256 + ord("a") - ord("!"), end]


def test_texts_are_cleaned_and_cut(folder: Path) -> None:
    encoder = ViClipEncoder.load(folder, shape=TINY)
    end = 512 + len(MERGES)
    assert encoder.tokens("the &amp;amp; cat") == encoder.tokens("The  & cat ")
    assert len(encoder.tokens("the")) == TINY.context
    assert encoder.tokens("the")[3:] == [0] * (TINY.context - 3)
    long = encoder.tokens("the cat " * 20)
    assert len(long) == TINY.context
    assert long[-1] == end


def test_shots_and_texts_are_unit_vectors_of_one_space(folder: Path) -> None:
    encoder = ViClipEncoder.load(folder, shape=TINY)
    shot = encoder.encode(frames())
    texts = encoder.encode_texts(["the cat", "the lamp", "the cat"])
    assert shot.shape == (20,)
    assert np.linalg.norm(shot) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(texts, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert np.array_equal(texts[0], texts[2])
    assert not np.allclose(texts[0], texts[1])


def test_the_order_of_frames_counts(folder: Path) -> None:
    encoder = ViClipEncoder.load(folder, shape=TINY)
    assert not np.allclose(encoder.encode(frames()), encoder.encode(frames()[::-1].copy()), atol=1e-5)
    with pytest.raises(ValueError, match="sees 8 frames"):
        encoder.encode(frames(3))


def test_weights_that_do_not_fit_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="weights of ViCLIP are missing or do not fit"):
        ViClipEncoder.load(folder, shape=replace(TINY, vision_layers=3))
    with pytest.raises(CheckpointError, match=r"do not fit: vision_encoder\.class_embedding"):
        ViClipEncoder.load(folder, shape=replace(TINY, vision_width=64, vision_heads=8))
    with pytest.raises(ModelError, match="no such file"):
        ViClipEncoder.load(tmp_path)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read .*: get the file again"):
        ViClipEncoder.load(folder, shape=TINY)
    weights.write_bytes(whole)
    (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="no merges"):
        ViClipEncoder.load(folder, shape=TINY)


def test_the_identity_changes_with_the_weights(folder: Path) -> None:
    before = ViClipEncoder.load(folder, shape=TINY).identity
    state = {name: value * 1.01 for name, value in ViClip(TINY).state_dict().items()}
    save_file(state, folder / "model.safetensors")
    assert ViClipEncoder.load(folder, shape=TINY).identity != before
    assert "vbench-clip-pixels-1" in before


def test_the_hub_out_of_reach_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="check the connection, give its folder"):
        load_video_encoder("viclip-l14")


def test_pixels_are_the_centre_at_the_wanted_size() -> None:
    wide = np.full((1, 3, 40, 80), -1, np.float32)
    wide[..., 20:60] = 1  # the square in the middle
    pixels = clip_pixels(wide, 40)
    assert pixels.shape == (1, 3, 40, 40)
    white = (1 - 0.48145466) / 0.26862954
    assert torch.allclose(pixels[:, 0], torch.tensor(white))
    assert clip_pixels(wide, 10).shape == (1, 3, 10, 10)
    assert clip_pixels(wide.swapaxes(2, 3).copy(), 64).shape == (1, 3, 64, 64)


@pytest.fixture
def laion(tmp_path: Path) -> tuple[Path, Path]:
    """CLIP's vision half and a head, in files."""
    torch.manual_seed(2)
    config = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                              image_size=32, patch_size=8, projection_dim=20)  # fmt: skip
    clip, head = tmp_path / "clip", tmp_path / "head.pth"
    CLIPVisionModelWithProjection(config).save_pretrained(clip)
    torch.save(torch.nn.Linear(20, 1).state_dict(), head)
    return clip, head


def test_beauty_is_a_tenth_of_the_head_on_unit_features(laion: tuple[Path, Path]) -> None:
    clip, head = laion
    judge = load_judge("laion", clip=clip, head=head)
    assert judge is not None
    model = CLIPVisionModelWithProjection.from_pretrained(clip).eval()
    weights = torch.load(head, weights_only=True)
    with torch.inference_mode():
        features = model(pixel_values=clip_pixels(frames(3), 32)).image_embeds
        unit = features / features.norm(dim=-1, keepdim=True)
        expected = (unit @ weights["weight"].T + weights["bias"])[:, 0] / 10
    assert judge.judge(frames(3)) == pytest.approx(expected.numpy(), abs=1e-5)
    assert "laion-linear" in judge.identity


def test_a_head_may_be_safetensors_and_must_fit(laion: tuple[Path, Path], tmp_path: Path) -> None:
    clip, head = laion
    other = tmp_path / "head.safetensors"
    save_file(torch.load(head, weights_only=True), other)
    assert LaionJudge.load(clip, other).judge(frames(1)) == LaionJudge.load(clip, head).judge(frames(1))
    torch.save(torch.nn.Linear(768, 1).state_dict(), head)
    with pytest.raises(CheckpointError, match="no aesthetic head for this CLIP"):
        LaionJudge.load(clip, head)
    other.write_bytes(other.read_bytes()[:50])
    for damaged in (other, tmp_path / "empty.pth"):
        damaged.touch()
        with pytest.raises(CheckpointError, match="no aesthetic head"):
            LaionJudge.load(clip, damaged)
    torch.save(torch.nn.Linear(20, 1), head)  # a whole object: to load it would run what is in it
    with pytest.raises(CheckpointError, match="no aesthetic head"):
        LaionJudge.load(clip, head)
    with pytest.raises(ModelError, match="needs --judge-head"):
        LaionJudge.load(clip, None)


def test_unknown_names_are_told() -> None:
    assert load_judge("none") is None
    with pytest.raises(ModelError, match="use one of none, laion"):
        load_judge("magic")
    with pytest.raises(ModelError, match="use one of builtin, viclip-l14"):
        load_video_encoder("magic")
    with pytest.raises(SettingsError, match="has no weights"):
        load_video_encoder("builtin", path=Path())
    with pytest.raises(SettingsError, match="knows no words"):
        BuiltinVideoEncoder().encode_texts(["a"])


def test_prompt_following_is_measured_by_an_encoder_that_knows_words(
    folder: Path, laion: tuple[Path, Path], tmp_path: Path
) -> None:
    place = tmp_path / "films" / "ours" / "story"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in (1, 2, 3):
        clip = rng.integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)
        write_video(place / f"{number}.mkv", iter(clip), 16, codec="ffv1")
    (place / "script.yaml").write_text("title: A\noverview: the cat\nscenes:\n  - shots: [a cat, the lamp, the cat]\n")
    encoder = ViClipEncoder.load(folder, shape=TINY)
    judge = load_judge("laion", clip=laion[0], head=laion[1])
    scores = score_folder(tmp_path / "films", Instruments(encoder, judge))
    one = scores["systems"]["ours"]["story"]
    film = open_film(tmp_path / "films", *find_films(tmp_path / "films")[0])
    from storymem.media import read_video

    shots = [shot_features(list(read_video(shot.path)), encoder, judge) for shot in film.shots]
    texts = encoder.encode_texts(film.facts.prompts or ())
    expected = [float(shot.embedding @ text) for shot, text in zip(shots, texts, strict=True)]
    assert [shot["prompt"] for shot in one["shots"]] == pytest.approx(expected, abs=1e-6)
    assert one["numbers"]["prompt_shot"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert one["numbers"]["prompt_film"] is not None
    assert one["numbers"]["aesthetic"] == pytest.approx(np.mean([s.beauty.mean() for s in shots]), abs=1e-6)
    assert scores["instruments"]["prompt_likeness"] == encoder.identity
    with pytest.raises(SettingsError, match="use one process"):
        score_folder(tmp_path / "films", Instruments(encoder), processes=2)
