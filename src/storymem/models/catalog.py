"""What can be asked for by name, with its settings. Nothing heavy is imported here.

Revisions: a hub repository can change under its name, so commit hashes are pinned: those that public projects name
for the repository. An entry without one is pinned when it is first downloaded; its lock file keeps the hash (see
`storymem.models.download`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from storymem.errors import ModelError
from storymem.settings import SamplingConfig

__all__ = ["CATALOG", "Kind", "ModelEntry", "entry", "sampling_for"]

Kind = Literal["i2v", "t2v", "lora", "encoder", "scorer"]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that has a name.

    Attributes:
        name: what the command line calls it.
        title: what it is, in a few words.
        kind: ``i2v`` (can be given memory), ``t2v`` (first shots only), ``lora``, ``encoder`` or ``scorer`` of frames.
        licence: of the weights, as far as it is known.
        repo: repository on the Hugging Face hub; None for what comes with this package or is made on the spot.
        revision: commit hash, if it is pinned here; None: pinned at the first download.
        patterns: which files of the repository are needed.
        subfolder: where in the download the model lies.
        download_gb: about how much is downloaded, in units of 10^9 bytes.
        parameters: component → parameters, in units of 10^9 (counted, see tests/models/test_catalog.py).
        sampling: fields of `SamplingConfig` that differ from what it is laid over.
        negative_prompt: what the model's makers steer away from; may be empty.
        memory: fields of `MemoryConfig` that suit the model better than the method's.
        portraits: its films are better with portraits of their cast; see `storymem.film.portraits`.
        portrait_prompt: a portrait's, of words that the model knows, with ``{name}`` in it; None: none of its own.
        takes: how many of each shot are made if nobody says; more than one only where there is a critic.
        critic: who knows which of its takes is best, by the name of one of `storymem.film.critics`; None: nobody.
        base: name of the model that a LoRA goes on.
        note: one sentence a user should know.
    """

    name: str
    title: str
    kind: Kind
    licence: str
    repo: str | None = None
    revision: str | None = None
    patterns: tuple[str, ...] = ()
    subfolder: str = ""
    download_gb: float = 0.0
    parameters: Mapping[str, float] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    negative_prompt: str = ""
    memory: Mapping[str, Any] = field(default_factory=dict)
    portraits: bool = False
    portrait_prompt: str | None = None
    takes: int = 1
    critic: str | None = None
    base: str | None = None
    note: str = ""


_A14B = {"transformer": 14.29, "transformer_2": 14.29, "text_encoder": 5.68, "vae": 0.127}
_I2V: Mapping[str, Any] = MappingProxyType(
    {"num_inference_steps": 40, "shift": 5.0, "boundary_ratio": 0.9, "guidance_scale": 3.5, "guidance_scale_2": 3.5}
)
_T2V: Mapping[str, Any] = MappingProxyType(
    {"num_inference_steps": 40, "shift": 12.0, "boundary_ratio": 0.875, "guidance_scale": 4.0, "guidance_scale_2": 3.0}
)
_MEMORY: Mapping[str, Any] = MappingProxyType({"shift": 4.0, "memory_stride": 5})
_FOUR_STEPS: Mapping[str, Any] = MappingProxyType(
    {"num_inference_steps": 4, "solver": "euler", "shift": 5.0, "guidance_scale": 1.0, "guidance_scale_2": 1.0}
)
# Wan2.2's own negative prompt (Apache-2.0), in the language it was trained with: garish or overexposed, static, blurred
# details, subtitles, painting-like, still, greyish, low quality, JPEG artefacts, ugly, deformed hands, faces and limbs,
# crowded background, walking backwards.
_WAN_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，"  # noqa: RUF001
    "残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，"  # noqa: RUF001
    "三条腿，背景人很多，倒着走"  # noqa: RUF001
)
_ORIGINAL_FILES = (
    "high_noise_model/*",
    "low_noise_model/*",
    "Wan2.1_VAE.pth",
    "models_t5_umt5-xxl-enc-bf16.pth",
    "google/umt5-xxl/*",
)
_DIFFUSERS_FILES = (
    "model_index.json",
    "scheduler/*",
    "text_encoder/*",
    "tokenizer/*",
    "transformer/*",
    "transformer_2/*",
    "vae/*",
)

_ENTRIES = (
    ModelEntry(
        name="storyland",
        title="our own small model of a cartoon world; comes with this package",
        kind="i2v",
        licence="Apache-2.0",
        parameters={"transformer": 5.15e-3, "transformer_2": 5.15e-3, "text_encoder": 0.421e-3, "vae": 3.31e-3},
        sampling=MappingProxyType(
            {
                "num_inference_steps": 12,
                "shift": 3.0,
                "guidance_scale": 1.0,  # it learned to do without, of the prompt and of the memory
                "memory_stride": 5,
                "blank": "gradient",
                "width": 224,
                "height": 128,
                "num_frames": 25,
                "fps": 16,
            }
        ),
        memory=MappingProxyType({"recall": "cast"}),
        portraits=True,
        portrait_prompt="{name} waves in the meadow at noon. Medium shot.",
        takes=3,
        critic="storyland",
        note="It knows the animals and places of Storyland and nothing else: see docs/storyland.md for what to ask it.",
    ),
    ModelEntry(
        name="tiny-random",
        title="tiny random weights: shows that everything runs, not what it looks like",
        kind="i2v",
        licence="Apache-2.0",
        parameters={"transformer": 85e-6, "transformer_2": 85e-6, "text_encoder": 29e-6, "vae": 240e-6},
        sampling=MappingProxyType(
            {**_I2V, **_MEMORY, "num_inference_steps": 4, "width": 208, "height": 128, "num_frames": 17}
        ),
        note="Made on the spot from a seed; its films are noise.",
    ),
    ModelEntry(
        name="wan2.2-i2v-a14b",
        title="Wan2.2 image-to-video, two experts of 14B, original layout",
        kind="i2v",
        licence="Apache-2.0",
        repo="Wan-AI/Wan2.2-I2V-A14B",
        revision="206a9ee1b7bfaaf8f7e4d81335650533490646a3",
        patterns=_ORIGINAL_FILES,
        download_gb=126,
        parameters=_A14B,
        sampling=_I2V,
        negative_prompt=_WAN_NEGATIVE,
        note="Needs a memory LoRA, such as storymem-mi2v, to be given memory.",
    ),
    ModelEntry(
        name="wan2.2-i2v-a14b-diffusers",
        title="the same, in diffusers' layout",
        kind="i2v",
        licence="Apache-2.0",
        repo="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
        revision="596658fd9ca6b7b71d5057529bbf319ecbc61d74",
        patterns=_DIFFUSERS_FILES,
        download_gb=126,
        parameters=_A14B,
        sampling=_I2V,
        negative_prompt=_WAN_NEGATIVE,
        note="Needs a memory LoRA, such as storymem-mi2v, to be given memory.",
    ),
    ModelEntry(
        name="wan2.2-t2v-a14b",
        title="Wan2.2 text-to-video, two experts of 14B, original layout",
        kind="t2v",
        licence="Apache-2.0",
        repo="Wan-AI/Wan2.2-T2V-A14B",
        revision="c8c270b13ee05bfa474194ac9fb07a5868a97cea",
        patterns=_ORIGINAL_FILES,
        download_gb=126,
        parameters=_A14B,
        sampling=_T2V,
        negative_prompt=_WAN_NEGATIVE,
        note="For the first shot of a film; it cannot be given memory.",
    ),
    ModelEntry(
        name="wan2.2-t2v-a14b-diffusers",
        title="the same, in diffusers' layout",
        kind="t2v",
        licence="Apache-2.0",
        repo="Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        revision="5be7df9619b54f4e2667b2755bc6a756675b5cd7",
        patterns=_DIFFUSERS_FILES,
        download_gb=126,
        parameters=_A14B,
        sampling=_T2V,
        negative_prompt=_WAN_NEGATIVE,
        note="For the first shot of a film; it cannot be given memory.",
    ),
    ModelEntry(
        name="storymem-mi2v",
        title="memory LoRA of StoryMem: memory and first frame (rank 128)",
        kind="lora",
        licence="see the repository",
        repo="Kevin-thu/StoryMem",
        patterns=("Wan2.2-MI2V-A14B/*",),
        subfolder="Wan2.2-MI2V-A14B",
        download_gb=4.9,
        parameters={"transformer": 0.613, "transformer_2": 0.613},
        sampling=_MEMORY,
        base="wan2.2-i2v-a14b",
    ),
    ModelEntry(
        name="storymem-mm2v",
        title="memory LoRA of StoryMem: memory and five motion frames (rank 128)",
        kind="lora",
        licence="see the repository",
        repo="Kevin-thu/StoryMem",
        patterns=("Wan2.2-MM2V-A14B/*",),
        subfolder="Wan2.2-MM2V-A14B",
        download_gb=4.9,
        parameters={"transformer": 0.613, "transformer_2": 0.613},
        sampling=_MEMORY,
        base="wan2.2-i2v-a14b",
    ),
    ModelEntry(
        name="lightning-i2v",
        title="4-step LoRA of LightX2V for Wan2.2 image-to-video (rank 64)",
        kind="lora",
        licence="Apache-2.0",
        repo="lightx2v/Wan2.2-Lightning",
        revision="18bccf8884ec0a078eed79785eb4ef13ea16ce1e",
        patterns=("Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1/*.safetensors",),
        subfolder="Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1",
        download_gb=2.5,
        parameters={"transformer": 0.307, "transformer_2": 0.307},
        sampling=_FOUR_STEPS,
        base="wan2.2-i2v-a14b",
        note="Stacks on a memory LoRA; made for plain image-to-video, so its quality with memory is not the method's.",
    ),
    ModelEntry(
        name="clip-vit-b32",
        title="CLIP ViT-B/32: the method's frame encoder",
        kind="encoder",
        licence="MIT",
        repo="openai/clip-vit-base-patch32",
        revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        patterns=("config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin"),
        download_gb=0.6,
        parameters={"encoder": 0.151},
    ),
    ModelEntry(
        name="hpsv3",
        title="HPSv3 (Qwen2-VL 7B): the method's quality scorer",
        kind="scorer",
        licence="see the repository",
        repo="MizzenAI/HPSv3",
        revision="4f81e3e09edd82fe3c5f636444c721b592a735ca",
        patterns=("*.safetensors", "*.json"),
        download_gb=17,
        parameters={"scorer": 8.3},
        note="Its tokenizer and configuration, of Qwen2-VL-7B-Instruct, come from the hub at the first use.",
    ),
)

CATALOG: Mapping[str, ModelEntry] = MappingProxyType({item.name: item for item in _ENTRIES})
"""Every entry by name, in the order to show them in."""


def entry(name: str) -> ModelEntry:
    """The entry called `name`.

    Raises:
        ModelError: there is none; names the nearest.
    """
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ModelError(f"There is no model {name!r}; {hint}`storymem models list` shows all of them.")


def sampling_for(*entries: ModelEntry, base: SamplingConfig | None = None) -> SamplingConfig:
    """The settings that a model and the LoRAs on it were made for, later ones laid over earlier ones.

    Args:
        entries: the model first, then its LoRAs in the order in which they are put on.
        base: what is laid over; None: the defaults of `SamplingConfig`.
    """
    config = base or SamplingConfig()
    for item in entries:
        config = replace(config, **item.sampling)
    return config
