"""HPSv3, the method's aesthetic score: Qwen2-VL-7B with a small head that reads a human preference off one token.

Our own loader and forward pass of the published weights (arXiv 2508.03789; MizzenAI/HPSv3, MIT licence), so that
neither the ``hpsv3`` package nor its pinned transformers is needed. What makes the score the same:

- the rating instruction that the model was trained with (``hpsv3_instruction.txt``, MIT licence), with an empty prompt;
- images resized with PIL's bicubic filter to about 256 * 28 * 28 pixels, sides multiples of 28;
- positions that simply count tokens: HPSv3 does not use Qwen2-VL's three-dimensional ones;
- the whole backbone cast to bfloat16, its rotary tables too; the head in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storymem.errors import CheckpointError, ModelError
from storymem.media import to_uint8
from storymem.memory.bank import FloatArray
from storymem.memory.weights import device_dtype, fingerprint

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, Qwen2VLConfig, Qwen2VLModel

__all__ = ["Hpsv3Scorer", "image_size"]

_BACKBONE = "Qwen/Qwen2-VL-7B-Instruct"  # only its configuration and tokenizer: the checkpoint is complete
_BACKBONE_REVISION = "eed13092ef92e448dd6875b2a00151bd3f7db0ac"
_REPOSITORY = "MizzenAI/HPSv3"
_REVISION = "4f81e3e09edd82fe3c5f636444c721b592a735ca"
_CHECKPOINT = "HPSv3.safetensors"

_REWARD_TOKEN = "<|Reward|>"  # noqa: S105 - a token of text
_IMAGE_TOKEN = "<|image_pad|>"  # noqa: S105
_PIXELS = 256 * 28 * 28
_FACTOR = 28  # a token covers 2 x 2 patches of 14 x 14 pixels
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)  # CLIP's, RGB in [0, 1]
_STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
_BATCH = 8
_REMEDY = "check the folder, or the connection to the Hugging Face hub, or choose the quality scorer 'builtin'"


def image_size(height: int, width: int) -> tuple[int, int]:
    """The height and width that an image has inside the model: multiples of 28, about 256 * 28 * 28 pixels.

    Raises:
        ModelError: the image is more than 200 times as long as wide.
    """
    if max(height, width) > 200 * min(height, width):
        raise ModelError(
            f"HPSv3 cannot score a picture of {width} x {height} pixels: its sides may differ 200 times at most."
        )
    rounded = [max(_FACTOR, round(side / _FACTOR) * _FACTOR) for side in (height, width)]
    if rounded[0] * rounded[1] > _PIXELS:
        excess = math.sqrt(height * width / _PIXELS)
        rounded = [max(_FACTOR, math.floor(side / excess / _FACTOR) * _FACTOR) for side in (height, width)]
    elif rounded[0] * rounded[1] < _PIXELS:
        lack = math.sqrt(_PIXELS / (height * width))
        rounded = [math.ceil(side * lack / _FACTOR) * _FACTOR for side in (height, width)]
    return rounded[0], rounded[1]


class Hpsv3Scorer:
    """The mean of HPSv3's preference for a frame with an empty prompt; about -5 to 15, ordinary pictures above 3.

    Args:
        model: the Qwen2-VL backbone.
        head: the reward head, from the hidden size to mean and log deviation.
        tokenizer: with the reward token added.
        identity: see `AestheticScorer.identity`.
    """

    name = "hpsv3"
    default_threshold = 3.0

    def __init__(
        self, model: Qwen2VLModel, head: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, identity: str
    ) -> None:
        self._model: Any = model.eval().requires_grad_(False)  # type: ignore[no-untyped-call]
        self._head = head.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self.identity = identity

    @classmethod
    def load(
        cls,
        folder: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str | None = None,
        source: str | None = None,
    ) -> Hpsv3Scorer:
        """Read the model from a folder, or from the Hugging Face hub at pinned revisions (17 GB).

        Args:
            folder: with ``HPSv3.safetensors`` as published. The ``config.json`` and tokenizer of Qwen2-VL-7B-Instruct,
                small files that are not published with it, may lie there too; else they come from the hub. None: the
                hub.
            device: in torch's words.
            dtype: None is bfloat16, as the model was trained.
            source: see `identity_of`.

        Raises:
            ModelError: the folder or the hub does not have it.
            CheckpointError: a weight is missing, left over, or of the wrong shape.
        """
        import torch
        from transformers import AutoTokenizer, Qwen2VLConfig

        target, number_type = device_dtype(device, dtype, default=torch.bfloat16)
        try:
            checkpoint = _checkpoint(folder)
        except OSError as error:
            raise ModelError(f"HPSv3 cannot be read ({_first_line(error)}): {_REMEDY}.") from error
        config = _small(Qwen2VLConfig, folder, "config.json")
        tokenizer = _small(AutoTokenizer, folder, "tokenizer_config.json")
        tokenizer.add_special_tokens({"additional_special_tokens": [_REWARD_TOKEN]})
        model, head = _read(checkpoint, config, len(tokenizer))
        name = str(number_type).removeprefix("torch.")
        model.to(device=target, dtype=number_type)  # type: ignore[call-arg]
        return cls(model, head.to(target, torch.float32), tokenizer, cls.identity_of(folder, dtype=name, source=source))

    @staticmethod
    def identity_of(folder: str | Path | None = None, *, dtype: str = "bfloat16", source: str | None = None) -> str:
        """The identity that `load` gives it, before anything is loaded.

        Args:
            folder: with the weights; None: the hub, at the pinned revision.
            dtype: it computes in.
            source: ``repository@revision`` that the weights are known to come from, wherever they lie; None: of a
                folder, what its files contain (17 GB are read).
        """
        if folder is None:
            source = f"{_REPOSITORY}@{_REVISION}"
        elif source is None:
            source = f"hpsv3:{fingerprint(Path(folder))}"
        return f"{source}:{dtype}"

    def to(self, device: str) -> Hpsv3Scorer:
        """Itself, moved to a device, in torch's words; what it held on a GPU before is given back.

        Raises:
            torch.OutOfMemoryError: there is no room; `to` the old device again mends it.
        """
        import torch

        before = self._model.device
        self._model.to(device)
        self._head.to(device)
        if before.type == "cuda" and self._model.device != before:
            torch.cuda.empty_cache()
        return self

    def score(self, frames: FloatArray) -> FloatArray:
        """Scores ``[F]`` of frames ``[F, 3, H, W]``; see `AestheticScorer.score`."""
        parts = [np.zeros(0, dtype=np.float32)]
        parts += [self._score(frames[start : start + _BATCH]) for start in range(0, len(frames), _BATCH)]
        return np.concatenate(parts)

    def _score(self, frames: FloatArray) -> FloatArray:
        import torch

        patches, (rows, columns) = _patches(frames)
        # All frames have one size and one text, so the rows of the batch are alike and nothing is padded.
        ids = self._token_ids(rows * columns // 4)
        device = self._model.device
        with torch.inference_mode():
            grid = torch.tensor([[1, rows, columns]] * len(frames), device=device)
            features = self._model.get_image_features(torch.from_numpy(patches).to(device), grid).pooler_output
            tokens = torch.tensor([ids] * len(frames), device=device)
            embeddings = self._model.get_input_embeddings()(tokens)
            embeddings[tokens == self._model.config.image_token_id] = torch.cat(list(features)).to(embeddings.dtype)
            hidden = self._model.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
            reward = hidden[:, ids.index(self._reward_id)].float()
            mean: FloatArray = self._head(reward)[:, 0].cpu().numpy()
        return mean

    @property
    def _reward_id(self) -> int:
        number = self._tokenizer.convert_tokens_to_ids(_REWARD_TOKEN)
        assert isinstance(number, int)
        return number

    def _token_ids(self, image_tokens: int) -> list[int]:
        """The conversation that asks for the rating of one image, in Qwen2-VL's chat format."""
        instruction = resources.files("storymem.memory").joinpath("hpsv3_instruction.txt").read_text(encoding="utf-8")
        text = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            f"<|im_start|>user\n<|vision_start|>{_IMAGE_TOKEN * image_tokens}<|vision_end|>"
            f"{instruction.replace('{text_prompt}', '')}<|im_end|>\n<|im_start|>assistant\n"
        )
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids


def _patches(frames: FloatArray) -> tuple[FloatArray, tuple[int, int]]:
    """Patches ``[F * rows * columns, 3 * 2 * 14 * 14]`` in the order of Qwen2-VL, and rows and columns of one frame.

    The patches of a square of 2 x 2, which become one token, follow one another; an image is a video of two equal
    frames.
    """
    from PIL import Image

    height, width = image_size(*frames.shape[-2:])
    pictures = [
        Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC) for picture in to_uint8(frames)
    ]
    pixels = (np.stack([np.asarray(picture) for picture in pictures]).astype(np.float32) / 255 - _MEAN) / _STD
    rows, columns = height // 14, width // 14
    cut = pixels.reshape(len(frames), rows // 2, 2, 14, columns // 2, 2, 14, 3)
    cut = cut.transpose(0, 1, 4, 2, 5, 7, 3, 6)  # [F, rows / 2, columns / 2, 2, 2, 3, 14, 14]
    twice = np.repeat(cut[:, :, :, :, :, :, None], 2, axis=6)
    return np.ascontiguousarray(twice.reshape(-1, 3 * 2 * 14 * 14)), (rows, columns)


def _checkpoint(folder: str | Path | None) -> Path:
    from huggingface_hub import hf_hub_download

    if folder is None:
        return Path(hf_hub_download(_REPOSITORY, _CHECKPOINT, revision=_REVISION))
    checkpoint = Path(folder) / _CHECKPOINT
    if not checkpoint.is_file():
        raise ModelError(f"{folder}: {_CHECKPOINT} is missing: HPSv3 needs its published checkpoint there.")
    return checkpoint


def _small(kind: Any, folder: str | Path | None, name: str) -> Any:
    """The configuration or the tokenizer: from the folder if its file `name` is there, else of the backbone's hub."""
    own = folder is not None and (Path(folder) / name).is_file()
    options: dict[str, Any] = {"local_files_only": True} if own else {"revision": _BACKBONE_REVISION}
    if name != "config.json":
        options["trust_remote_code"] = False  # else it asks on the terminal whether to run the folder's Python
    try:
        return kind.from_pretrained(str(folder) if own else _BACKBONE, **options)
    except OSError as error:
        if folder is None or own:
            raise ModelError(f"HPSv3 cannot be read ({_first_line(error)}): {_REMEDY}.") from error
        raise ModelError(
            f"{folder}: {name} is missing and cannot be read from {_BACKBONE} ({_first_line(error)}): {_REMEDY}."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _read(checkpoint: Path, config: Qwen2VLConfig, vocabulary: int) -> tuple[Qwen2VLModel, torch.nn.Module]:
    from accelerate import init_empty_weights
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch import nn
    from transformers import Qwen2VLModel

    text: Any = config.text_config
    text.vocab_size = vocabulary
    with init_empty_weights(include_buffers=False):  # no time lost on random weights; the rotary tables are computed
        model = Qwen2VLModel(config)
        head = nn.Sequential(
            nn.Linear(text.hidden_size, 1024),
            nn.ReLU(),
            nn.Dropout(0.05),
            nn.Linear(1024, 16),
            nn.ReLU(),
            nn.Linear(16, 2),
        )
    try:
        weights = _renamed(load_file(checkpoint))
    except SafetensorError as error:
        raise CheckpointError(f"{checkpoint}: is damaged or cut off ({error}): download it again.") from error
    for module, prefix in ((model, "model."), (head, "rm_head.")):
        own = {key.removeprefix(prefix): weights.pop(key) for key in list(weights) if key.startswith(prefix)}
        expected = module.state_dict()
        for key in sorted(expected.keys() | own.keys()):
            if key not in own or key not in expected:
                fault = "is missing" if key in expected else "fits nothing"
                raise CheckpointError(f"{checkpoint}: weight {prefix}{key} {fault}: is this HPSv3 for Qwen2-VL-7B?")
            if own[key].shape != expected[key].shape:
                raise CheckpointError(
                    f"{checkpoint}: weight {prefix}{key} has the shape {list(own[key].shape)}, not "
                    f"{list(expected[key].shape)}: do its config.json and tokenizer belong to it?"
                )
        module.load_state_dict(own, assign=True)
    weights.pop("lm_head.weight", None)  # the language head of the backbone, which the score does not use
    if weights:
        raise CheckpointError(f"{checkpoint}: weight {min(weights)} fits nothing: is this HPSv3 for Qwen2-VL-7B?")
    return model, head


def _renamed(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of transformers 4.45, in which the checkpoint is published, as today's; today's stay as they are."""
    renamed = {}
    for key, value in weights.items():
        if key.startswith("visual."):
            new = f"model.{key}"
        elif key.startswith("model.") and not key.startswith(("model.visual.", "model.language_model.")):
            new = f"model.language_model.{key.removeprefix('model.')}"
        else:
            new = key
        renamed[new] = value
    return renamed
