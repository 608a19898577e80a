"""Compare this package with the method's public code, on reference cases.

    python benchmarks/parity.py CASES_DIR --out DIR

CASES_DIR holds ``checkpoint/`` (the original layout on disk, LoRA included), one folder per case with ``case.json``,
``memory/*.png``, ``first_frame.png`` (mi2v) and ``expected.safetensors``, and ``keyframe_selection.json``. Every case
is run in float32 on the CPU. DIR gets ``<case>.safetensors`` with the keys of ``expected.safetensors``, and
``keyframe_selection.json``. The relative (Frobenius) error of every key is printed; the exit code is 1 if one is above
``--tolerance`` or a selection differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from storymem.errors import MediaError, StoryMemError
from storymem.media import read_image
from storymem.memory.selection import drop_repetitions, select_keyframes
from storymem.models.checkpoints import load_components
from storymem.models.lora import load_lora, merge_lora
from storymem.pipeline import StoryMemPipeline
from storymem.settings import SamplingConfig

METHOD = SamplingConfig()
"""What a case leaves unsaid is as in the method."""


def lora_folder(checkpoint: Path, mode: str) -> Path | None:
    """The LoRA of a mode: that of MM2V for mm2v if there is one, else that of MI2V, else any, else none."""
    folders = sorted(path for path in (checkpoint / "StoryMem").glob("*") if path.is_dir())
    wanted = ["MM2V", "MI2V"] if mode == "mm2v" else ["MI2V"]
    named = [folder for name in wanted for folder in folders if name in folder.name]
    return next(iter(named + folders), None)


def load_pipeline(checkpoint: Path, folder: Path | None, alpha: float | None, rslora: bool | None) -> StoryMemPipeline:
    """The checkpoint with a LoRA merged into both experts."""
    parts = load_components(checkpoint, dtype=torch.float32)
    if folder is not None:
        lora = load_lora(folder, alpha=alpha, rslora=rslora)
        for transformer, part in ((parts.transformer, lora.high), (parts.transformer_2, lora.low)):
            if transformer is not None and part is not None:
                merge_lora(transformer, part)
    pipe = StoryMemPipeline.from_components(parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def text_embeds(pipe: StoryMemPipeline, text: str) -> torch.Tensor:
    """Embeddings of a text without their padding: ``[tokens, D]``."""
    from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean

    tokens = pipe.tokenizer(prompt_clean(text), max_length=512, truncation=True, add_special_tokens=True).input_ids
    return pipe.embed_text(text)[0, : len(tokens)]


def known_frames(folder: Path, case: dict[str, Any], expected: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """The frames that the shot begins with: one for mi2v, five for mm2v."""
    if case["mode"] == "mi2v":
        return [read_image(folder / "first_frame.png")]
    if case["mode"] == "mm2v":
        if "motion_frames" in expected:
            return list((expected["motion_frames"].float() / 127.5 - 1).permute(0, 3, 1, 2).numpy())
        if frames := [read_image(path) for path in sorted((folder / "motion_frames").glob("*.png"))]:
            return frames
        raise MediaError(
            f"{folder}: an mm2v case begins with five frames: put them into {folder / 'motion_frames'} as PNG, or into "
            "expected.safetensors as motion_frames."
        )
    return []


def run_case(
    pipe: StoryMemPipeline, folder: Path, case: dict[str, Any], expected: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """One case, with the keys of ``expected.safetensors``."""
    guidance = case.get("guidance_scale", METHOD.guidance_scale)
    high, low = guidance if isinstance(guidance, list) else (guidance, case.get("guidance_scale_2", guidance))
    negative_prompt = case.get("negative_prompt") or ""
    sampling = SamplingConfig(
        width=case["width"],
        height=case["height"],
        num_frames=case["frames"],
        num_inference_steps=case["steps"],
        solver=case.get("solver", METHOD.solver),
        shift=case.get("shift", METHOD.shift),
        boundary_ratio=case.get("boundary_ratio"),
        guidance_scale=high,
        guidance_scale_2=low,
        memory_stride=case.get("memory_stride", METHOD.memory_stride),
    )
    out = pipe(
        case["prompt"],
        negative_prompt=negative_prompt,
        memory=[read_image(path) for path in sorted((folder / "memory").glob("*.png"))],
        known_frames=known_frames(folder, case, expected),
        sampling=sampling,
        generator=torch.Generator().manual_seed(case["seed"]),
        output_type="raw",
    )
    result = {
        "prompt_embeds": text_embeds(pipe, case["prompt"]),
        "negative_prompt_embeds": text_embeds(pipe, negative_prompt),
        "condition_latents": out.condition.condition_latents[0],
        "latents": out.latents[0],
        "video": out.frames,
    }
    if out.condition.layout.num_memory:
        result["memory_latents"] = out.condition.memory_latents[0].transpose(0, 1)
    if "motion_frames" in expected:
        result["motion_frames"] = expected["motion_frames"]
    return {name: tensor.float().contiguous() for name, tensor in result.items()}


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Frobenius norm of the difference over that of the reference; infinite where shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp_min(1e-30))


def run_selection(path: Path, out: Path) -> int:
    """Every case of ``keyframe_selection.json``; returns how many differ."""
    data = json.loads(path.read_text(encoding="utf-8"))
    results, wrong = [], 0
    for case in data["cases"]:
        embeddings = np.asarray(case["embeddings"], dtype=np.float64)
        selection = select_keyframes(
            embeddings,
            np.asarray(case["quality"], dtype=np.float64),
            similarity_threshold=data["similarity_threshold"],
            threshold_step=data["threshold_step"],
            max_keyframes=data["max_keyframes"],
            quality_threshold=data["quality_threshold"],
        )
        bank = np.asarray(case["bank"], dtype=np.float64).reshape(-1, embeddings.shape[1])
        selected = list(selection.indices)
        kept = [
            selected[i] for i in drop_repetitions(embeddings[selected], bank, threshold=data["similarity_threshold"])
        ]
        result = {"selected": selected, "kept": kept, "final_threshold": selection.threshold}
        results.append(result)
        wrong += any(name in case and case[name] != result[name] for name in ("selected", "kept"))
    out.write_text(json.dumps({"cases": results}), encoding="utf-8")
    print(f"keyframe_selection: {len(results) - wrong} of {len(results)} equal")
    return wrong


def main() -> int:
    """Run everything; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, metavar="CASES_DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    failures = 0
    pipes: dict[object, StoryMemPipeline] = {}
    for case_file in sorted(args.cases.glob("*/case.json")):
        folder = case_file.parent
        case = json.loads(case_file.read_text(encoding="utf-8"))
        checkpoint = args.cases / "checkpoint"
        lora = (lora_folder(checkpoint, case["mode"]), case.get("lora_alpha"), case.get("use_rslora"))
        if lora not in pipes:
            pipes.clear()  # one model in memory at a time
            pipes[lora] = load_pipeline(checkpoint, *lora)
        expected_file = folder / "expected.safetensors"
        expected = load_file(expected_file) if expected_file.is_file() else {}
        try:
            result = run_case(pipes[lora], folder, case, expected)
        except StoryMemError as error:  # the other cases are run all the same
            failures += 1
            print(f"{folder.name}: cannot be run: {error}", flush=True)
            continue
        except KeyError as error:
            failures += 1
            print(f"{folder.name}: cannot be run: case.json does not say {error}", flush=True)
            continue
        save_file(result, args.out / f"{folder.name}.safetensors")
        errors = {
            name: relative_error(result[name], expected[name]) if name in result else float("inf")
            for name in sorted(expected)
        }
        failures += sum(error > args.tolerance for error in errors.values())
        told = "  ".join(f"{name} {error:.1e}" for name, error in errors.items())
        print(f"{folder.name}: {told or 'written; nothing to compare with'}", flush=True)

    selection_file = args.cases / "keyframe_selection.json"
    if selection_file.is_file():
        failures += run_selection(selection_file, args.out / "keyframe_selection.json")
    print("all within tolerance" if not failures else f"{failures} failed or above tolerance ({args.tolerance:g})")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StoryMemError as error:
        sys.exit(f"parity: {error}")
