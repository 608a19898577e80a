"""What one shot costs: time per denoising step, VAE work, memory, and everything else as a share of denoising.

    python benchmarks/shot.py time [--preset small] [--device cpu] [--dtype float32] [--attention NAME ...]
    python benchmarks/shot.py count [--json FILE]

``time`` runs a model of random weights and measures seconds per denoising step with 0 and 10 keyframes, guidance with
one branch after the other and with both in one batch, and the VAE; medians of ``--runs`` after one warm-up. ``--preset
full`` is that of Wan2.2-A14B (two experts, 2 x 28 GB in bfloat16) at 832x480 and 81 frames: it needs a large GPU.

``count`` counts floating-point operations at full size, on any machine and without weights (torch's flop counter on
meta tensors): every part of a shot as a share of its denoising.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch.utils.flop_counter import FlopCounterMode

from storymem.conditioning.codec import LatentCodec
from storymem.conditioning.condition import build_condition
from storymem.conditioning.layout import VideoLayout
from storymem.conditioning.rope import use_positions
from storymem.pipeline import StoryMemPipeline
from storymem.settings import SamplingConfig

TEXT_TOKENS = 512


@dataclass(frozen=True)
class Preset:
    """An architecture and a shot."""

    heads: int
    head_dim: int
    layers: int
    ffn_dim: int
    text_dim: int
    vae_dim: int
    width: int
    height: int
    num_frames: int


PRESETS = {
    "tiny": Preset(4, 24, 3, 160, 64, 8, 96, 64, 9),
    "small": Preset(8, 48, 8, 1536, 256, 32, 208, 128, 33),
    "full": Preset(40, 128, 40, 13824, 4096, 96, 832, 480, 81),
}


def transformer_config(preset: Preset) -> dict[str, Any]:
    """The image-to-video transformer: 36 input channels."""
    return {
        "num_attention_heads": preset.heads,
        "attention_head_dim": preset.head_dim,
        "num_layers": preset.layers,
        "ffn_dim": preset.ffn_dim,
        "text_dim": preset.text_dim,
        "in_channels": 36,
        "out_channels": 16,
    }


def random_transformer(preset: Preset, device: torch.device, dtype: torch.dtype) -> WanTransformer3DModel:
    """Random weights, made on the device in their own type (28 GB in float32 first would not fit everywhere)."""
    with torch.device("meta"):
        transformer = WanTransformer3DModel(**transformer_config(preset))
    transformer = transformer.to(dtype).to_empty(device=device).eval()
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.normal_(0, 0.02)
    return transformer


def memory_and_shot(preset: Preset, num_memory: int, num_known: int = 0) -> VideoLayout:
    """The layout of the preset's shot."""
    return VideoLayout(preset.num_frames, preset.height, preset.width, num_memory=num_memory, num_known=num_known)


def median_seconds(work: Callable[[], object], runs: int, device: torch.device) -> float:
    """Median wall time of `work`, after one warm-up."""

    def once() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(runs))


def peak_gib(device: torch.device) -> float:
    """Peak memory so far: of the GPU if there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def time_steps(args: argparse.Namespace, preset: Preset) -> list[dict[str, Any]]:
    """Seconds per step for 0 and 10 keyframes, both kinds of guidance, every attention backend asked for."""
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    experts = [random_transformer(preset, device, dtype) for _ in range(2)]  # both, for the memory they take
    rows = []
    for backend in args.attention or ["native"]:
        for expert in experts:
            expert.set_attention_backend(backend)
        for num_memory in (0, 10):
            layout = memory_and_shot(preset, num_memory)
            latents = torch.zeros(1, 16, layout.num_latent_frames, layout.latent_height, layout.latent_width)
            memory = torch.zeros(1, 16, num_memory, *latents.shape[3:]) if num_memory else None
            condition = build_condition(layout, memory, latents)
            channels = condition.channels(36, device, dtype)
            noise = torch.randn(layout.latents_shape(), device=device, dtype=dtype)
            text = torch.randn(1, TEXT_TOKENS, preset.text_dim, device=device, dtype=dtype)
            timestep = torch.tensor(900, device=device)
            for batched in (False, True):
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()

                def step(batched: bool = batched, noise: torch.Tensor = noise, channels: Any = channels) -> None:
                    states = torch.cat([noise, channels], dim=1)
                    StoryMemPipeline._predict(experts[0], states, timestep, text, text, 3.5, batched)  # noqa: B023

                with torch.inference_mode(), use_positions(experts, condition.positions):
                    seconds = median_seconds(step, args.runs, device)
                row = {
                    "attention": backend,
                    "keyframes": num_memory,
                    "guidance": "one batch" if batched else "sequential",
                    "tokens": layout.num_tokens(),
                    "seconds_per_step": seconds,
                    "peak_gib": peak_gib(device),
                }
                rows.append(row)
                print(
                    f"{backend:>12}  {num_memory:2d} keyframes  {row['guidance']:>10}  {row['tokens']:6d} tokens  "
                    f"{seconds:8.3f} s/step  peak {row['peak_gib']:.2f} GiB",
                    flush=True,
                )
    return rows


def time_vae(args: argparse.Namespace, preset: Preset) -> dict[str, float]:
    """Seconds of VAE work per shot; the blank condition is encoded once per size."""
    device = torch.device(args.device)
    vae = AutoencoderKLWan(base_dim=preset.vae_dim, z_dim=16).to(device).eval()
    codec = LatentCodec(vae)
    size = (preset.num_frames, preset.height, preset.width)
    layout = memory_and_shot(preset, 0)
    keyframe = torch.rand(3, preset.height, preset.width) * 2 - 1
    latents = torch.randn(1, 16, layout.num_latent_frames, layout.latent_height, layout.latent_width)

    def fresh_blank() -> None:
        codec._blank.clear()
        codec.encode_known(None, *size, device)

    def fresh_keyframe() -> None:
        codec._keyframes.clear()
        codec.encode_keyframe(keyframe, device)

    result = {
        "encode_blank_shot_first_time": median_seconds(fresh_blank, args.runs, device),
        "encode_blank_shot_again": median_seconds(lambda: codec.encode_known(None, *size, device), args.runs, device),
        "encode_keyframe_first_time": median_seconds(fresh_keyframe, args.runs, device),
        "encode_keyframe_again": median_seconds(lambda: codec.encode_keyframe(keyframe, device), args.runs, device),
        "decode_shot": median_seconds(lambda: codec.decode(latents, device), args.runs, device),
    }
    for name, seconds in result.items():
        print(f"{name:>30}  {seconds:.4f} s")
    return result


def count_flops(work: Callable[[], object]) -> float:
    """Floating-point operations of `work` on meta tensors."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        work()
    return float(counter.get_total_flops())


def count(sampling: SamplingConfig, num_memory: int = 10) -> dict[str, float]:
    """Operations of every part of one full-size shot with a full memory."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, UMT5Config, UMT5EncoderModel

    preset = PRESETS["full"]
    layout = memory_and_shot(preset, num_memory)
    with torch.device("meta"):
        transformer = WanTransformer3DModel(**transformer_config(preset)).eval()
        vae = AutoencoderKLWan(base_dim=96, z_dim=16).eval()
        # One of the 24 layers is counted and multiplied: they are alike, and embeddings cost nothing.
        text_config = UMT5Config(d_model=4096, d_kv=64, num_heads=64, d_ff=10240, num_layers=1, vocab_size=256384)
        text_encoder = UMT5EncoderModel(text_config).eval()
        clip_config = CLIPVisionConfig(  # ViT-B/32
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            patch_size=32,
            projection_dim=512,
        )
        clip = CLIPVisionModelWithProjection(clip_config).eval()
        states = torch.zeros(1, 36, *layout.latents_shape()[2:])
        embeds = torch.zeros(1, TEXT_TOKENS, 4096)
        pixels = torch.zeros(1, 3, preset.num_frames, preset.height, preset.width)
        latents = torch.zeros(1, 16, layout.num_latent_frames, layout.latent_height, layout.latent_width)
        tokens = torch.zeros(1, TEXT_TOKENS, dtype=torch.long)
        squashed = torch.zeros(preset.num_frames, 3, 224, 224)

    forward = count_flops(lambda: transformer(states, torch.zeros(1, device="meta"), embeds, return_dict=False))
    branches = 2 if sampling.guidance_scale > 1 else 1
    return {
        "denoising": forward * branches * sampling.num_inference_steps,
        "vae: encode blank shot (once per size)": count_flops(lambda: vae.encode(pixels)),
        "vae: encode the 3 new keyframes": 3 * count_flops(lambda: vae.encode(pixels[:, :, :1])),
        "vae: decode the shot": count_flops(lambda: vae.decode(latents)),
        "text encoder: one prompt": 24 * count_flops(lambda: text_encoder(tokens)),
        "keyframes: CLIP on all 81 frames": count_flops(lambda: clip(squashed)),
        "keyframes: HPSv3 on all 81 frames (at worst)": hpsv3_flops(preset.num_frames),
    }


def hpsv3_flops(frames: int) -> float:
    """HPSv3 on frames, by the rule of two operations per weight and token (its forward does not run on meta tensors).

    Qwen2-VL-7B: 6.5 billion weights in the language layers see about 256 image tokens and the instruction (4 characters
    to a token); 0.67 billion in the vision tower see 4 patches per image token.
    """
    instruction = resources.files("storymem.memory").joinpath("hpsv3_instruction.txt").read_text(encoding="utf-8")
    tokens = 256 + len(instruction) / 4
    return frames * 2 * (6.5e9 * tokens + 0.67e9 * 4 * 256)


def print_shares(counts: dict[str, float]) -> float:
    """A table; returns everything else as a share of denoising."""
    whole = counts["denoising"]
    for name, flops in counts.items():
        print(f"{name:>46}  {flops / 1e12:12.2f} TFLOP  {flops / whole:8.3%}")
    rest = (sum(counts.values()) - whole) / whole
    print(f"{'everything but denoising':>46}  {'':18}  {rest:8.3%}")
    return rest


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    timing = commands.add_parser("time")
    timing.add_argument("--preset", choices=PRESETS, default="small")
    timing.add_argument("--size", help="such as 832x480, instead of the preset's")
    timing.add_argument("--frames", type=int)
    timing.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    timing.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    timing.add_argument("--attention", nargs="*", help="diffusers attention backends, such as native flash sage")
    timing.add_argument("--runs", type=int, default=5)
    timing.add_argument("--no-vae", action="store_true")
    counting = commands.add_parser("count")
    for command in (timing, counting):
        command.add_argument("--json", type=Path)
    args = parser.parse_args()

    result: dict[str, Any]
    if args.command == "count":
        counts = count(SamplingConfig())
        result = {"flops": counts, "share_of_everything_else": print_shares(counts)}
    else:
        preset = PRESETS[args.preset]
        if args.size:
            width, height = (int(number) for number in args.size.split("x"))
            preset = replace(preset, width=width, height=height)
        if args.frames:
            preset = replace(preset, num_frames=args.frames)
        result = {"preset": args.preset, "device": args.device, "dtype": args.dtype, "torch": torch.__version__}
        result["steps"] = time_steps(args, preset)
        if not args.no_vae:
            result["vae"] = time_vae(args, preset)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
