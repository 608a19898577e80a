"""The VAE in training: reconstruction, outlines and a little divergence; no adversary and no borrowed network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from storymem.training.plan import MOTION_FRAMES
from storymem.training.seeding import generator, seed_of

if TYPE_CHECKING:
    from accelerate import Accelerator
    from diffusers import AutoencoderKLWan

    from storymem.training.clips import ClipSource
    from storymem.training.config import VaeStage
    from storymem.training.log import RunLog
    from storymem.training.sections import VaeLossSection
    from storymem.training.store import GroupStore

__all__ = ["Autoencoder", "PixelLoader", "VaeTask", "edge_error", "latent_statistics", "psnr", "vae_loss"]


class PixelLoader:
    """Groups of clips in eight bits, which is a quarter of the memory: uint8 ``[3, F, H, W]`` each.

    Args:
        source: the clips.
        keep: groups held in memory at most, those asked for last; 0 leaves that to the `GroupStore`.
    """

    def __init__(self, source: ClipSource, keep: int = 0) -> None:
        self.source = source
        self.keep = keep
        self._kept: dict[int, tuple[torch.Tensor, ...]] = {}  # from the one asked for longest ago to the last

    def __len__(self) -> int:
        return len(self.source)

    def size(self, index: int) -> int:
        """See `Groups.size`."""
        return self.source.size(index)

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """See `Groups.subjects`."""
        return self.source.subjects(index, clip)

    def load(self, index: int) -> tuple[torch.Tensor, ...]:
        """See `Groups.load`."""
        clips = self._kept.pop(index, None)
        if clips is None:
            if self._kept and len(self._kept) >= self.keep:
                del self._kept[next(iter(self._kept))]
            clips = tuple(
                ((clip.frames + 1) * 127.5).round().clamp(0, 255).to(torch.uint8) for clip in self.source.group(index)
            )
        if self.keep:
            self._kept[index] = clips
        return clips


class Autoencoder(nn.Module):
    """A VAE whose forward is encode, sample, decode.

    The decoder's output is not clipped to [-1, 1] as diffusers' `decode` does: a clipped pixel has no gradient.
    """

    def __init__(self, vae: AutoencoderKLWan, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.vae = vae
        self.autocast_dtype = autocast

    def forward(
        self, pixels: torch.Tensor, noise: torch.Tensor | None, damage: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reconstruction ``[B, 3, F, H, W]``, posterior mean and log variance ``[B, z, F_lat, h, w]``.

        Args:
            pixels: ``[B, 3, F, H, W]`` in [-1, 1].
            noise: standard normal like the mean; None decodes the mean itself.
            damage: added to the code before it is decoded.
        """
        with torch.autocast(pixels.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            posterior = self.vae.encode(pixels).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            z = mean if noise is None else mean + torch.exp(0.5 * logvar) * noise
            out = self._decode(z if damage is None else z + damage)
        return out.float(), mean, logvar

    def _decode(self, z: torch.Tensor) -> torch.Tensor:
        """diffusers' `AutoencoderKLWan._decode` without its last clamp, a latent frame at a time."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

        vae = self.vae
        vae.clear_cache()
        x = vae.post_quant_conv(z)
        frames = []
        for index in range(z.shape[2]):
            vae._conv_idx = [0]
            frames.append(
                vae.decoder(
                    x[:, :, index : index + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, first_chunk=index == 0
                )
            )
        vae.clear_cache()
        out = torch.cat(frames, dim=2)
        return out if vae.config.patch_size is None else unpatchify(out, patch_size=vae.config.patch_size)


def edge_error(out: torch.Tensor, target: torch.Tensor, scales: int = 3) -> torch.Tensor:
    """Mean absolute error of differences between neighbouring pixels, at full size, half, quarter: one number.

    Args:
        out: ``[B, 3, F, H, W]``.
        target: the same.
        scales: sizes looked at.
    """
    error = (out - target).transpose(1, 2).flatten(0, 1)  # the difference of edges is the edge of the difference
    total = error.new_zeros(())
    for scale in range(scales):
        if scale:
            error = F.avg_pool2d(error, 2)
        total = total + (error[..., 1:] - error[..., :-1]).abs().mean()
        total = total + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return total / scales


def vae_loss(
    out: torch.Tensor, target: torch.Tensor, mean: torch.Tensor, logvar: torch.Tensor, config: VaeLossSection
) -> torch.Tensor:
    """L1 + edges + KL, weighted; the divergence is that from a standard normal, per latent number."""
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    loss = config.l1 * (out - target).abs().mean() + config.kl * divergence
    return loss + config.edges * edge_error(out, target) if config.edges else loss


def psnr(out: torch.Tensor, target: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    error = (out.clamp(-1, 1) - target).square().mean().clamp_min(1e-12)
    return float(10 * torch.log10(4 / error))


class VaeTask:
    """Trains a VAE.

    Args:
        stage: the configuration.
        module: the VAE.
        store: clips in pixels.
        accelerator: of the run.
    """

    name = "vae"
    beside: Sequence[torch.nn.Module] = ()

    def __init__(
        self, stage: VaeStage, module: Autoencoder, store: GroupStore[torch.Tensor], accelerator: Accelerator
    ) -> None:
        self.stage = stage
        self.module = module
        self.store = store
        self.accelerator = accelerator

    def prepare(self, step: int) -> None:
        """See `Task.prepare`."""
        self.store.prepare(step)

    def pixels(self, step: int, part: int) -> torch.Tensor:
        """This process's clips of one part of a step: ``[B, 3, F, H, W]``.

        Most are whole clips; some steps are single frames (a keyframe is encoded alone), and some clips that are zero
        after their first frames (a shot's condition is such a clip).
        """
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        batch = self.stage.batch_size // self.stage.accumulate
        loss = self.stage.loss
        kind = generator(self.stage.seed, "batch", step, part).random()
        groups = self.store.table(step).groups
        clips = []
        for index in range(rank, batch, world):
            rng = generator(self.stage.seed, "sample", step, part, index)
            group = self.store.clips(groups[int(rng.integers(len(groups)))])
            clip = group[int(rng.integers(len(group)))]
            if kind < loss.single_frames:
                position = int(rng.integers(clip.shape[1]))
                clip = clip[:, position : position + 1]
            clips.append(clip)
        pixels = torch.stack(clips).to(self.accelerator.device).float() / 127.5 - 1
        if loss.single_frames <= kind < loss.single_frames + loss.known_frames:
            pixels[:, :, 1 if part % 2 == step % 2 else MOTION_FRAMES :] = 0
        return pixels

    def loss(self, module: torch.nn.Module, step: int, part: int) -> torch.Tensor:
        """See `Task.loss`."""
        pixels = self.pixels(step, part)
        shape = self._latent_shape(pixels)
        source = torch.Generator(pixels.device)
        noise, damage = [], []
        for row in range(pixels.shape[0]):
            index = row * self.accelerator.num_processes + self.accelerator.process_index
            source.manual_seed(seed_of(self.stage.seed, "noise", step, part, index))
            noise.append(torch.randn(shape, generator=source, device=pixels.device))
            if self.stage.loss.code_noise:
                damage.append(self._damage(shape, source))
        out, mean, logvar = module(pixels, torch.stack(noise), torch.stack(damage) if damage else None)
        return vae_loss(out, pixels, mean, logvar, self.stage.loss)

    def _damage(self, shape: tuple[int, ...], source: torch.Generator) -> torch.Tensor:
        """What one sample's code is damaged by: noise of a strength by lot, up to `loss.code_noise`."""
        strength = self.stage.loss.code_noise * torch.rand((), generator=source, device=source.device)
        # What models see as 1, whatever the channel.
        spread = torch.tensor(cast(Any, self.module).vae.config.latents_std, device=source.device)
        return strength * spread.view(-1, 1, 1, 1) * torch.randn(shape, generator=source, device=source.device)

    def _latent_shape(self, pixels: torch.Tensor) -> tuple[int, int, int, int]:
        factor = self.stage.vae.spatial_factor
        _, _, frames, height, width = pixels.shape
        return (self.stage.vae.z_dim, (frames - 1) // 4 + 1, height // factor, width // factor)

    def is_due(self, step: int) -> bool:
        """See `Task.is_due`."""
        return bool(self.stage.sample.every) and step % self.stage.sample.every == 0

    def observe(self, step: int, log: RunLog, module: torch.nn.Module) -> None:
        """See `Task.observe`: signal-to-noise on held-out clips and frames, and a sheet of both."""
        clips = self.held_out(self.stage.sample.count)
        pictures = clips[:, :, :1]
        out, _, _ = module(clips, None)
        alone, _, _ = module(pictures, None)
        values = {"validation/psnr": psnr(out, clips), "validation/psnr_single_frame": psnr(alone, pictures)}
        log.record(self.name, step, values)
        log.picture(self.name, step, _sheet(clips, out))

    def held_out(self, count: int) -> torch.Tensor:
        """Clips that are not trained on (or, without held-out groups, the first ones): ``[count, 3, F, H, W]``."""
        groups: Sequence[int] = self.store.held_out or self.store.window(0)
        clips = [clip for index in groups[:count] for clip in self.store.clips(index)][:count]
        return torch.stack(clips).to(self.accelerator.device).float() / 127.5 - 1


def _sheet(clips: torch.Tensor, out: torch.Tensor) -> Any:
    """First, middle and last frame of each clip, the reconstruction below: uint8 ``[H, W, 3]``."""
    from storymem.media import to_uint8

    count = clips.shape[2]
    rows = []
    for clip, made in zip(clips, out, strict=True):
        for frames in (clip, made):
            rows.append(torch.cat([frames[:, i] for i in (0, count // 2, count - 1)], dim=2))
    return to_uint8(np.asarray(torch.cat(rows, dim=1).float().clamp(-1, 1).cpu().numpy()))


@torch.no_grad()
def latent_statistics(vae: AutoencoderKLWan, clips: Sequence[torch.Tensor]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each latent channel, over clips uint8 ``[3, F, H, W]`` and their single frames."""
    latents = []
    for clip in clips:
        pixels = clip[None].to(vae.device).float() / 127.5 - 1
        latents.append(vae.encode(pixels.to(vae.dtype)).latent_dist.mode().float())
    flat = torch.cat([part.transpose(0, 1).flatten(1) for part in latents], dim=1).double()
    return flat.mean(dim=1).tolist(), flat.std(dim=1).clamp_min(1e-4).tolist()
