"""What the film remembers: keyframes, the bank that keeps them, and how they are chosen."""

from storymem.memory.bank import FloatArray, Keyframe, MemoryBank, MemoryPolicy, frame_id
from storymem.memory.encoders import (
    ENCODERS,
    SCORERS,
    AestheticScorer,
    FrameEncoder,
    load_encoder,
    load_scorer,
    unload_models,
)
from storymem.memory.keyframes import choose_keyframes, encode_references
from storymem.memory.selection import FrameScores, Selection, drop_repetitions, select_keyframes

__all__ = [
    "ENCODERS",
    "SCORERS",
    "AestheticScorer",
    "FloatArray",
    "FrameEncoder",
    "FrameScores",
    "Keyframe",
    "MemoryBank",
    "MemoryPolicy",
    "Selection",
    "choose_keyframes",
    "drop_repetitions",
    "encode_references",
    "frame_id",
    "load_encoder",
    "load_scorer",
    "select_keyframes",
    "unload_models",
]
