"""Words that say whose clause they stand in."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import toys
from safetensors.torch import load_file

from storymem.errors import SettingsError
from storymem.models.checkpoints import load_components
from storymem.training.clauses import ClauseMarks, marks_of
from storymem.training.clips import Caption
from storymem.training.config import parse_config
from storymem.training.run import train
from storymem.training.text import embed_tokens, tokenize

RED_FIRST, RED_SECOND = "red square and a blue", "blue square and a red"
PAIR = Caption("Red left and blue right at night.", ((0, 8), (13, 23)))


def test_marks_stand_at_the_words_of_each_subject() -> None:
    offsets = [
        (0, 3),
        (3, 8),
        (8, 12),
        (12, 17),
        (17, 23),
        (23, 26),
        (0, 0),
    ]  # as byte-level tokens, blanks before words
    assert marks_of(PAIR, offsets) == [1, 1, 0, -1, -1, 0, 0]
    three = Caption("a b c", ((0, 1), (2, 3), (4, 5)))
    assert marks_of(three, [(0, 1), (1, 3), (3, 5)]) == [1, 0, -1]
    assert marks_of(Caption("a b", ((0, 1),)), [(0, 1), (1, 3)]) == [0, 0]  # one subject has no other to be told from
    assert marks_of("a b", [(0, 1), (1, 3)]) == [0, 0]


def test_a_caption_keeps_its_clauses_on_the_way_to_another_process() -> None:
    there = pickle.loads(pickle.dumps((PAIR,)))[0]
    assert (there, there.clauses) == (PAIR, PAIR.clauses)
    assert there == str(PAIR)


def test_the_error_is_that_of_the_share_along_the_direction() -> None:
    marks = ClauseMarks(3)
    marks.direction.data = torch.tensor([0.0, 0.0, 5.0])
    embeds = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 3.0, 4.0], [9.0, 9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    # Both of length 5, so a mark is 2: the first says 0 of it, the second 4 / 2.
    error = marks(embeds, mask, torch.tensor([[1.0, 1.0, -1.0]]))
    torch.testing.assert_close(error, torch.tensor([((0 - 1) ** 2 + (2 - 1) ** 2) / 2]))
    assert marks(embeds, torch.zeros_like(mask), torch.zeros(1, 3)) == 0


def test_the_text_encoder_learns_whose_clause_a_word_stands_in(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    pairs = "data.options={groups: 200, clips: 3, pairs: true}"
    changes = [f"vae={vae}", pairs, "steps=150", "batch_size=16", "log_every=150", "checkpoint_every=150"]
    changes += ["validation={every: 150, clips: 16, levels: [0.9]}", "optimizer.learning_rate=1e-2", "ema.decay=0"]
    moved = {}
    for weight in ("0", "0.5"):
        output = tmp_path / weight
        train(toys.stage(toys.BASE, output, f"loss.clauses={weight}", *changes))
        parts = load_components(output / "model", only=["tokenizer", "text_encoder"])
        assert parts.tokenizer is not None
        assert parts.text_encoder is not None
        tokens, mask = tokenize(parts.tokenizer, [f"A {both} square at fog." for both in (RED_FIRST, RED_SECOND)])
        red = parts.tokenizer("a red", add_special_tokens=False)["input_ids"][-1]
        first, second = embed_tokens(parts.text_encoder, tokens, mask)[tokens == red]
        moved[weight] = float((first - second).norm() / first.norm())
    assert moved["0.5"] > 3 * moved["0"], moved
    assert toys.losses(tmp_path / "0.5", "validation/clauses")[-1] < 0.2  # of marks that are 1 or -1 on most words
    assert not toys.losses(tmp_path / "0", "validation/clauses")
    weights = load_file(tmp_path / "0.5" / "checkpoints" / "model-00000150" / "weights.safetensors")
    assert "clauses.direction" in weights
    written = load_file(tmp_path / "0.5" / "model" / "text_encoder" / "model.safetensors").keys()
    assert written == load_file(tmp_path / "0" / "model" / "text_encoder" / "model.safetensors").keys()


def test_captions_that_do_not_say_are_refused(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    with pytest.raises(SettingsError, match="captions of squares do not say which words"):
        train(toys.stage(toys.BASE, tmp_path, f"vae={vae}", "loss.clauses=1", "steps=1"))
    with pytest.raises(SettingsError, match=r"loss\.clauses needs a world"):
        toys.on_footage(toys.BASE, tmp_path, tmp_path, f"vae={vae}", "loss.clauses=1", data="held_out: 0")
    with pytest.raises(SettingsError, match=r"loss\.clauses"):
        parse_config(toys.MEMORY, "test.yaml", (f"output={tmp_path}", f"model={tmp_path}", "loss.clauses=1"))
