"""A tiny model of random weights, made on the spot: everything runs on it, and its films are noise.

It has the parts and the conditioning of Wan2.2-I2V-A14B (two experts with 36 input channels, the video autoencoder, a
UMT5 encoder with its tokenizer), at a hundred-thousandth of the size.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from storymem.errors import StorageError
from storymem.models.store import cache_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["make_tiny", "tiny_random"]

_FORMAT = 1  # raise when what `make_tiny` writes changes: old folders in caches are then left alone


def tiny_random() -> Path:
    """The folder of the tiny model in the cache (see `storymem.models.store.cache_folder`); made if it is not there.

    Raises:
        StorageError: it cannot be written.
    """
    folder = cache_folder() / f"tiny-random-{_FORMAT}"
    if not (folder / "model_index.json").is_file():
        make_tiny(folder)
    return folder


def make_tiny(folder: Path, *, seed: int = 0) -> None:
    """Write the tiny model as a diffusers folder (about 3 MB): whole, or not at all.

    Args:
        folder: must not exist, or be such a model already, which is then left as it is.
        seed: of the weights; the same seed gives the same weights with the same version of PyTorch.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(temporary, seed)
            temporary.chmod(0o755)  # mkdtemp makes folders that only their owner can read
            try:
                os.rename(temporary, folder)  # noqa: PTH104 - Path.rename may replace an empty folder silently too
            except OSError:
                if not (folder / "model_index.json").is_file():
                    raise
                # Another process was faster; its weights are the same.
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise StorageError(folder, error) from error


def _write(folder: Path, seed: int) -> None:
    import torch
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = byte_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in ("transformer", "transformer_2"):
            WanTransformer3DModel(
                num_attention_heads=2,
                attention_head_dim=24,
                in_channels=36,
                out_channels=16,
                text_dim=32,
                freq_dim=64,
                ffn_dim=64,
                num_layers=2,
            ).save_pretrained(folder / name)
        AutoencoderKLWan(base_dim=4).save_pretrained(folder / "vae")
        config = UMT5Config(
            vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, is_encoder_decoder=False
        )
        with _no_progress_bar():
            UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=4.0).save_pretrained(
        folder / "scheduler"
    )
    index = {
        "_class_name": "WanImageToVideoPipeline",
        "boundary_ratio": 0.9,
        "expand_timesteps": False,
        "image_encoder": [None, None],
        "image_processor": [None, None],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", type(tokenizer).__name__],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Transformers shows one for the writing of 80 kB."""
    from transformers.utils import logging

    switch = cast("Any", logging)
    shown = switch.is_progress_bar_enabled()
    switch.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            switch.enable_progress_bar()


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer with one token per byte of UTF-8, so that every text can be written in it; pad is 0, end is 1."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    wrapped: PreTrainedTokenizerBase = cast("Any", PreTrainedTokenizerFast)(tokenizer_object=tokenizer, **names)
    return wrapped
