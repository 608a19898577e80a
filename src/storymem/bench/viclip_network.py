"""The network of ViCLIP (InternVid, arXiv 2307.06942): CLIP whose vision tower sees eight frames at once.

Parameters have the names of the released checkpoint. With one frame and no temporal embedding the network is CLIP; the
tests hold it against transformers' CLIP in this way.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

__all__ = ["ViClip", "ViClipShape"]


@dataclass(frozen=True)
class ViClipShape:
    """Sizes of the network; the defaults are ViCLIP-L/14.

    Attributes:
        side: pixels of a frame's side.
        patch: pixels of a patch's side.
        frames: how many are seen at once.
        vision_width: and layers and heads, of the vision tower.
        text_width: and layers and heads, of the text tower.
        context: tokens of a text.
        vocabulary: tokens there are.
        dimension: of an embedding.
    """

    side: int = 224
    patch: int = 14
    frames: int = 8
    vision_width: int = 1024
    vision_layers: int = 24
    vision_heads: int = 16
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    context: int = 32
    vocabulary: int = 49408
    dimension: int = 768


class _QuickGelu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Block(nn.Module):
    """Attention and MLP, each on a normalised copy and added: as in CLIP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        parts = (
            ("c_fc", nn.Linear(width, width * 4)),
            ("gelu", _QuickGelu()),
            ("c_proj", nn.Linear(width * 4, width)),
        )
        self.mlp = nn.Sequential(OrderedDict(parts))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        normal = self.ln_1(x)
        x = x + self.attn(normal, normal, normal, need_weights=False, attn_mask=mask)[0]
        result: torch.Tensor = x + self.mlp(self.ln_2(x))
        return result


class _Tower(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class _Vision(nn.Module):
    """All patches of all frames attend to one another; one class token for the whole."""

    def __init__(self, shape: ViClipShape) -> None:
        super().__init__()
        width, patch = shape.vision_width, (1, shape.patch, shape.patch)
        self.conv1 = nn.Conv3d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((shape.side // shape.patch) ** 2 + 1, width))
        self.temporal_positional_embedding = nn.Parameter(torch.zeros(1, shape.frames, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = _Tower(width, shape.vision_layers, shape.vision_heads)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, shape.dimension))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """``[B, T, 3, side, side]`` to ``[B, D]``."""
        patches = self.conv1(frames.transpose(1, 2)).flatten(3)  # [B, width, T, patches]
        patches = patches.permute(0, 3, 2, 1) + self.positional_embedding[1:, None]  # [B, patches, T, width]
        patches = (patches + self.temporal_positional_embedding[:, None]).flatten(1, 2)
        first = (self.class_embedding + self.positional_embedding[0]).expand(len(frames), 1, -1)
        x = self.transformer(self.ln_pre(torch.cat([first, patches], dim=1)))
        pooled: torch.Tensor = self.ln_post(x[:, 0]) @ self.proj
        return pooled


class _Text(nn.Module):
    """CLIP's text tower: every token sees those before it, and the end token stands for the text."""

    def __init__(self, shape: ViClipShape) -> None:
        super().__init__()
        self.transformer = _Tower(shape.text_width, shape.text_layers, shape.text_heads)
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.text_width)
        self.positional_embedding = nn.Parameter(torch.zeros(shape.context, shape.text_width))
        self.ln_final = nn.LayerNorm(shape.text_width)
        self.text_projection = nn.Parameter(torch.zeros(shape.text_width, shape.dimension))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``[B, context]`` to ``[B, D]``; the end token has the highest number."""
        length = tokens.shape[1]
        mask = torch.full((length, length), float("-inf"), device=tokens.device).triu(1)
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x, mask.to(x.dtype)))
        pooled: torch.Tensor = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)] @ self.text_projection
        return pooled


class ViClip(nn.Module):
    """Both towers.

    Args:
        shape: sizes.
    """

    def __init__(self, shape: ViClipShape) -> None:
        super().__init__()
        self.shape = shape
        self.vision_encoder = _Vision(shape)
        self.text_encoder = _Text(shape)
        self.temp = nn.Parameter(torch.tensor(0.01))  # of training; in the checkpoint, and of no use here
