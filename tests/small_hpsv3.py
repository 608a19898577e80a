"""HPSv3 as published, but tiny: for tests that read it from a folder."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
CHECKPOINT = "HPSv3.safetensors"


def published_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Today's names of transformers as those of 4.45, in which HPSv3 is published."""
    names = {key: key.replace("model.visual.", "visual.").replace("model.language_model.", "model.") for key in weights}
    return {names[key]: value.clone() for key, value in weights.items()}


def make_hpsv3(path: Path) -> Path:
    """Write it into a new folder: a tokenizer of bytes, one layer each, random weights."""
    path.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=SPECIAL, pad_token="<|endoftext|>"
    )
    fast.save_pretrained(path)
    config = Qwen2VLConfig(
        text_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "vocab_size": len(fast) + 40,  # the backbone has spare rows; the checkpoint has exactly one row a token
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        },
        vision_config={"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        image_token_id=fast.convert_tokens_to_ids("<|image_pad|>"),
    )
    config.save_pretrained(path)
    config.text_config.vocab_size = len(fast) + 1
    torch.manual_seed(0)
    weights = published_names(Qwen2VLForConditionalGeneration(config).state_dict())
    for number, (size_in, size_out) in {0: (32, 1024), 3: (1024, 16), 5: (16, 2)}.items():
        weights[f"rm_head.{number}.weight"] = torch.randn(size_out, size_in) / size_in**0.5
        weights[f"rm_head.{number}.bias"] = torch.randn(size_out)
    save_file(weights, path / CHECKPOINT)
    return path
