"""Prompts for the transformer: as the pipeline embeds them, but in batches, with gradients, and kept on disk."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from storymem.errors import SettingsError
from storymem.pipeline import text_length
from storymem.training.clauses import marks_of
from storymem.training.clips import Caption
from storymem.training.encode import FiledTensors, weights_digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

    from storymem.training.network_sections import TextEncoderSection

__all__ = ["PromptCache", "PromptIds", "Text", "build_tokenizer", "check_length", "embed_tokens", "tokenize"]


class Text(NamedTuple):
    """Prompts as a denoiser takes them.

    Attributes:
        tokens: embeddings ``[B, L, D]``, or token ids ``[B, L]``.
        mask: ``[B, L]``, of token ids.
        marks: ``[B, L]``, whose clause a token stands in, see `marks_of`; where that is trained.
    """

    tokens: torch.Tensor
    mask: torch.Tensor | None = None
    marks: torch.Tensor | None = None

    def to(self, device: torch.device) -> Text:
        """The same on that device."""
        mask, marks = (None if part is None else part.to(device) for part in self[1:])
        return Text(self.tokens.to(device), mask, marks)


def tokenize(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask ``[B, L]`` of cleaned prompts, padded as the pipeline pads them."""
    out = _split(tokenizer, _cleaned(prompts))
    return cast(torch.Tensor, out.input_ids), cast(torch.Tensor, out.attention_mask)


def _cleaned(prompts: Sequence[str]) -> list[str]:
    from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean

    return [prompt_clean(prompt) for prompt in prompts]


def _split(tokenizer: PreTrainedTokenizerBase, clean: Sequence[str], *, offsets: bool = False) -> Any:
    """What the tokenizer says of clean prompts; with `offsets` also ``offset_mapping``, ``[B, L, 2]``."""
    return tokenizer(
        list(clean),
        padding="max_length",
        max_length=text_length(tokenizer),
        truncation=True,
        add_special_tokens=True,
        return_attention_mask=True,
        return_offsets_mapping=offsets,
        return_tensors="pt",
    )


def embed_tokens(text_encoder: UMT5EncoderModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Embeddings ``[B, L, D]``, zero where there is padding; what the pipeline computes, and with gradients."""
    states = text_encoder(ids, mask).last_hidden_state
    return cast(torch.Tensor, states * mask[:, :, None].to(states.dtype))


class PromptIds:
    """`tokenize`, which cleans and splits every prompt once: a pool of clips has the same ones for many steps.

    Args:
        tokenizer: the model's.
        marks: say as well whose clause each token stands in.
        kept: how many prompts are remembered, those seen last.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, marks: bool = False, kept: int = 2**16) -> None:
        self.tokenizer = tokenizer
        self._marks = marks
        self._limit = kept
        self._kept: OrderedDict[str, tuple[torch.Tensor, ...]] = OrderedDict()

    def __call__(self, prompts: Sequence[str]) -> Text:
        """Token ids and attention mask ``[B, L]``, as `tokenize` gives them, and marks."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._kept]
        if missing:
            parts = self._marked(missing) if self._marks else tokenize(self.tokenizer, missing)
            self._kept.update(zip(missing, zip(*parts, strict=True), strict=True))
        for prompt in prompts:
            self._kept.move_to_end(prompt)
        text = Text(*map(torch.stack, zip(*(self._kept[prompt] for prompt in prompts), strict=True)))
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return text

    def _marked(self, prompts: Sequence[str]) -> tuple[torch.Tensor, ...]:
        clean = _cleaned(prompts)
        for prompt, cleaned in zip(prompts, clean, strict=True):
            assert prompt == cleaned or not isinstance(prompt, Caption), f"{prompt!r} is not clean"
        out = _split(self.tokenizer, clean, offsets=True)
        marks = [marks_of(*pair) for pair in zip(prompts, out.offset_mapping.tolist(), strict=True)]
        return out.input_ids, out.attention_mask, torch.tensor(marks)


def check_length(tokenizer: PreTrainedTokenizerBase, config: TextEncoderSection, start: Path) -> None:
    """Refuse another length of prompts than that of the tokenizer that a run begins with.

    Raises:
        SettingsError: `text_encoder.max_tokens` was given, and is not what the tokenizer at `start` has.
    """
    length = text_length(tokenizer)
    if "max_tokens" in config.model_fields_set and config.max_tokens != length:
        raise SettingsError(
            f"text_encoder.max_tokens is {config.max_tokens}, but prompts of {start} have {length} tokens, and its "
            f"tokenizer is kept: leave it out, or say {length}."
        )


class PromptCache:
    """Embeddings of prompts by a frozen text encoder; each prompt is embedded once.

    Args:
        tokenizer: the model's.
        text_encoder: the model's.
        device: where it runs and where embeddings are needed.
        folder: where embeddings are kept on disk, under the encoder's digest; None keeps the last gigabyte in memory.
    """

    _BYTES_IN_MEMORY = 2**30

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder: UMT5EncoderModel,
        device: torch.device | str,
        folder: Path | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.device = device
        self.length = text_length(tokenizer)
        self.folder = None if folder is None else folder / f"text-{weights_digest(text_encoder)}"
        self._text_encoder: UMT5EncoderModel | None = text_encoder
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()  # a batch is put together while a teacher asks for its own prompt

    def fill(self, prompts: Iterable[str], batch: int = 16) -> None:
        """Embed all of these to disk, so that `release` can be called."""
        assert self.folder is not None
        missing = [prompt for prompt in dict.fromkeys(prompts) if not self._path(prompt).is_file()]
        for start in range(0, len(missing), batch):
            self._embed(missing[start : start + batch])
            self._forget()

    def count_missing(self, prompts: Iterable[str]) -> int:
        """How many of these are not on disk."""
        return sum(not self._path(prompt).is_file() for prompt in prompts)

    def release(self) -> None:
        """Let go of the text encoder; from now on prompts come from disk."""
        self._text_encoder = None

    def __call__(self, prompts: Sequence[str]) -> torch.Tensor:
        """Embeddings ``[B, L, D]`` float32, zero-padded."""
        with self._lock:
            missing = [prompt for prompt in dict.fromkeys(prompts) if not self._find(prompt)]
            if missing:
                self._embed(missing)
            for prompt in prompts:
                self._kept.move_to_end(prompt)
            out = torch.zeros(len(prompts), self.length, self._kept[prompts[0]].shape[1])
            for row, prompt in zip(out, prompts, strict=True):
                row[: len(self._kept[prompt])] = self._kept[prompt]
            self._forget()
        return out.to(self.device)

    def _keep(self, prompt: str, embeds: torch.Tensor) -> None:
        self._kept[prompt] = embeds
        self._bytes += embeds.nbytes

    def _forget(self) -> None:
        """The embeddings that were asked for longest ago."""
        while self._bytes > self._BYTES_IN_MEMORY:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def _find(self, prompt: str) -> bool:
        if prompt in self._kept:
            return True
        if self.folder is None or not self._path(prompt).is_file():
            return False
        self._keep(prompt, FiledTensors(self._path(prompt))["embeds"])
        return True

    @torch.no_grad()
    def _embed(self, prompts: Sequence[str]) -> None:
        assert self._text_encoder is not None, f"{prompts[0]!r} was not embedded before the text encoder was released"
        ids, mask = tokenize(self.tokenizer, prompts)
        embeds = embed_tokens(self._text_encoder, ids.to(self._text_encoder.device), mask.to(self._text_encoder.device))
        for prompt, row, count in zip(prompts, embeds.cpu(), mask.sum(dim=1).tolist(), strict=True):
            self._keep(prompt, row[:count].clone())
            if self.folder is not None:
                from safetensors.torch import save

                from storymem.film.storage import make_folder, replace_file

                make_folder(self.folder)
                replace_file(self._path(prompt), save({"embeds": self._kept[prompt].contiguous()}))

    def _path(self, prompt: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{hashlib.sha256(prompt.encode()).hexdigest()[:32]}.safetensors"


def build_tokenizer(captions: Iterable[str], config: TextEncoderSection) -> PreTrainedTokenizerBase:
    """A byte-pair tokenizer learned from captions, with UMT5's special tokens (``<pad>`` 0, ``</s>`` 1, ``<unk>`` 2).

    Bytes are its alphabet, so it has a form for every text in any script. It says how many tokens its model takes,
    which is what the pipeline pads prompts to.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    pad, end, unknown = special = ["<pad>", "</s>", "<unk>"]
    tokenizer: Any = Tokenizer(models.BPE(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(config.vocabulary, 256 + len(special)),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, 1)])
    wrap: Any = PreTrainedTokenizerFast
    return cast(
        "PreTrainedTokenizerBase",
        wrap(
            tokenizer_object=tokenizer,
            pad_token=pad,
            eos_token=end,
            unk_token=unknown,
            model_max_length=config.max_tokens,
        ),
    )
