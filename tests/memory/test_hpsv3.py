from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_pictures import scene, to_picture
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from small_hpsv3 import CHECKPOINT, make_hpsv3
from storymem.errors import CheckpointError, ModelError
from storymem.memory.encoders import load_scorer
from storymem.memory.hpsv3 import Hpsv3Scorer, image_size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hpsv3(tmp_path_factory.mktemp("hpsv3") / "model")


def by_hand(folder: Path, frames: np.ndarray) -> np.ndarray:
    """The score by transformers' own image processor and generation class, and a head in numpy."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|Reward|>"]})
    weights = load_file(folder / CHECKPOINT)
    config = Qwen2VLConfig.from_pretrained(folder)
    config.text_config.vocab_size = len(tokenizer)
    model = Qwen2VLForConditionalGeneration(config).eval()
    own = {f"model.{k}" if k.startswith("visual.") else k.replace("model.", "model.language_model."): v
           for k, v in weights.items() if not k.startswith("rm_head.")}  # fmt: skip
    model.load_state_dict(own, strict=True)
    instruction = (Path(__file__).parents[2] / "src/storymem/memory/hpsv3_instruction.txt").read_text()
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 256 * 28 * 28, "longest_edge": 256 * 28 * 28})
    scores = []
    for frame in frames:
        images = processor(to_picture(frame), return_tensors="pt")
        tokens = int(images["image_grid_thw"].prod()) // 4
        text = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
            + "<|image_pad|>" * tokens
            + f"<|vision_end|>{instruction.format(text_prompt='')}<|im_end|>\n<|im_start|>assistant\n"
        )
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        count = torch.arange(ids.shape[1])
        with torch.no_grad():
            hidden = model(
                input_ids=ids, position_ids=count.expand(3, 1, -1), output_hidden_states=True, **images
            ).hidden_states[-1]
        x = hidden[0, int((ids[0] == tokenizer.convert_tokens_to_ids("<|Reward|>")).nonzero())].numpy()
        for number in (0, 3, 5):
            x = weights[f"rm_head.{number}.weight"].numpy() @ x + weights[f"rm_head.{number}.bias"].numpy()
            x = x if number == 5 else np.maximum(x, 0)
        scores.append(x[0])
    return np.array(scores, dtype=np.float32)


def test_equals_a_computation_with_the_classes_of_transformers(folder: Path) -> None:
    frames = np.stack([scene(seed, size=(60, 104)) for seed in (0, 1, 2)])
    scores = Hpsv3Scorer.load(folder, dtype="float32").score(frames)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, by_hand(folder, frames), atol=1e-4)
    assert np.ptp(scores) > 1e-2, "the picture makes no difference: the example proves nothing"


def test_batches_do_not_change_the_result(folder: Path) -> None:
    frames = np.stack([scene(seed, size=(28, 30)) for seed in range(9)])  # more than one batch
    scorer = Hpsv3Scorer.load(folder, dtype="float32")
    together = scorer.score(frames)
    np.testing.assert_allclose(together[8], scorer.score(frames[8:])[0], atol=1e-4)
    assert scorer.score(frames[:0]).shape == (0,)


def test_bfloat16_is_the_default_and_near(folder: Path) -> None:
    frames = scene(0, size=(60, 104))[None]
    rounded, exact = Hpsv3Scorer.load(folder), Hpsv3Scorer.load(folder, dtype="float32")
    assert rounded.identity.endswith(":bfloat16")
    assert abs(rounded.score(frames)[0] - exact.score(frames)[0]) < 0.1


def test_the_prompt_asks_with_no_text_and_one_reward_token(folder: Path) -> None:
    scorer = Hpsv3Scorer.load(folder)
    text = scorer._tokenizer.decode(scorer._token_ids(3))
    assert text.count("<|image_pad|>") == 3
    assert text.count("<|Reward|>") == 1
    assert "Textual prompt - \n" in text
    assert "{" not in text
    assert text.endswith("END\n<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("size", "inside"),
    [((480, 832), (336, 588)), ((448, 448), (448, 448)), ((64, 96), (392, 560)), ((720, 1280), (336, 588))],
)
def test_image_size(size: tuple[int, int], inside: tuple[int, int]) -> None:
    assert image_size(*size) == inside


@pytest.mark.parametrize("size", [(480, 832), (64, 96), (100, 1000), (1080, 1920), (28, 28), (333, 777)])
def test_image_size_is_that_of_transformers(size: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    assert image_size(*size) == smart_resize(*size, 28, 256 * 28 * 28, 256 * 28 * 28)


def test_an_absurd_shape_is_refused() -> None:
    with pytest.raises(ModelError, match="200 times at most"):
        image_size(2, 500)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rm_head.5.weight": None}, r"rm_head\.5\.weight is missing"),
        ({"visual.merger.ln_q.weight": None}, r"model\.visual\.merger\.ln_q\.weight is missing"),
        ({"rm_head.7.weight": torch.zeros(1)}, r"rm_head\.7\.weight fits nothing"),
        ({"adapter.weight": torch.zeros(1)}, r"adapter\.weight fits nothing"),
        ({"model.norm.weight": torch.zeros(33)}, r"norm\.weight has the shape \[33\], not \[32\]"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_an_error(
    folder: Path, tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    for file in folder.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / CHECKPOINT)
    for key, value in change.items():
        weights.pop(key, None)
        if value is not None:
            weights[key] = value
    save_file(weights, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match=message):
        Hpsv3Scorer.load(tmp_path)


@pytest.mark.parametrize("name", [CHECKPOINT, "config.json", "tokenizer_config.json"])
def test_a_folder_without_one_of_the_files(folder: Path, tmp_path: Path, name: str) -> None:
    for file in folder.iterdir():
        if file.name != name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match=f"{name} is missing"):
        Hpsv3Scorer.load(tmp_path)


def test_what_is_not_published_with_it_comes_from_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`storymem models download hpsv3` gets the checkpoint alone."""
    (tmp_path / CHECKPOINT).write_bytes((folder / CHECKPOINT).read_bytes())
    monkeypatch.setattr("storymem.memory.hpsv3._BACKBONE", str(folder))  # in place of its repository
    frames = np.stack([scene(0, size=(28, 30))])
    np.testing.assert_array_equal(Hpsv3Scorer.load(tmp_path).score(frames), Hpsv3Scorer.load(folder).score(frames))


def test_a_checkpoint_that_was_cut_off(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        data = file.read_bytes()
        (tmp_path / file.name).write_bytes(data[: len(data) // 2] if file.name == CHECKPOINT else data)
    with pytest.raises(CheckpointError, match=rf"{CHECKPOINT}: is damaged or cut off"):
        Hpsv3Scorer.load(tmp_path)


def test_loaded_by_name_only_once(folder: Path) -> None:
    scorer = load_scorer("hpsv3", path=folder)
    assert isinstance(scorer, Hpsv3Scorer)
    assert scorer.default_threshold == 3.0
    assert load_scorer("hpsv3", path=folder) is scorer
