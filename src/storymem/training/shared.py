"""What the stages share: the source of clips, their latents, the VAE, and putting weights back together."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from storymem.conditioning.codec import LatentCodec
from storymem.conditioning.layout import check_tokens
from storymem.errors import SettingsError
from storymem.models.checkpoints import Components, load_components
from storymem.models.layouts import find_model
from storymem.models.own_sampling import read_sampling
from storymem.settings import SamplingConfig
from storymem.training.ahead import DrawnAhead
from storymem.training.attention import use_matrix_attention
from storymem.training.block_code import quick_codec
from storymem.training.clauses import ClauseMarks
from storymem.training.clips import Caption, ClipSource, open_source
from storymem.training.config import BaseStage, MemoryStage, VaeStage
from storymem.training.denoise import DenoisingTask, Geometry
from storymem.training.encode import CachedLoader, GroupLoader, SourceLoader, weights_digest
from storymem.training.networks import dtype_of
from storymem.training.plan import MOTION_FRAMES
from storymem.training.processes import all_or_none, refuse_unseen
from storymem.training.recognition import Recogniser
from storymem.training.run import settings_of
from storymem.training.samples import draw_sheet, sampling_of
from storymem.training.sections import DataSection
from storymem.training.seeding import seed_of
from storymem.training.stills import quicken_stills
from storymem.training.store import AS_EVER, HELD_OUT, ClipStore, GroupStore

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator
    from diffusers import WanTransformer3DModel

    from storymem.training.footage import FootageSource
    from storymem.training.networks import Denoiser
    from storymem.training.reward import ExpertPair
    from storymem.training.text import PromptCache

__all__ = [
    "DenoisingRun",
    "autocast_of",
    "check_size",
    "division_of",
    "expert_spans",
    "fit_to_runtime",
    "latent_folder",
    "load_expert",
    "make_clause_marks",
    "make_loader",
    "make_pipeline",
    "make_recogniser",
    "open_data",
    "refuse_other_blank",
    "refuse_sheets_of_experts",
    "scenes_of",
    "seed_network",
    "vae_digest",
    "whole_copy",
]


_CAPTIONS_ASKED = 512
_Task = TypeVar("_Task", bound=DenoisingTask)


def open_data(data: DataSection) -> ClipSource:
    """The source of a run: a world, or a folder of footage.

    Raises:
        SettingsError: there is no such world, or the folder is none of ours.
    """
    if data.folder is not None:
        from storymem.training.footage import FootageSource

        return FootageSource(data.folder, data.width, data.height, data.num_frames)
    assert data.world is not None
    return open_source(data.world, data.width, data.height, data.num_frames, data.options)


def scenes_of(source: ClipSource) -> Sequence[int] | None:
    """The scene of each group of footage; None of a world, in which no two groups are of one."""
    from storymem.training.footage import FootageSource

    return source.scenes if isinstance(source, FootageSource) else None


def division_of(store: GroupStore[Any], source: ClipSource) -> dict[str, Any]:
    """What a checkpoint says of which clips of footage are held out; nothing where none are.

    `AS_EVER` where only the last groups are, and all else is trained on.
    """
    from storymem.training.footage import FootageSource

    if not store.held_out or not isinstance(source, FootageSource):
        return {}
    related, count = [index for index in range(len(source)) if source.size(index) > 1], len(store.held_out)
    if store.held_out == tuple(related[-count:]) and len(store.training) == len(source) - count:
        return {HELD_OUT: AS_EVER}
    return {HELD_OUT: [source.digest_of(groups) for groups in (store.held_out, store.training)]}


def autocast_of(stage: VaeStage | BaseStage | MemoryStage) -> torch.dtype | None:
    """The type to compute in, or None for the weights' own."""
    return torch.bfloat16 if stage.runtime.precision == "bfloat16" else None


def fit_to_runtime(transformer: WanTransformer3DModel, stage: BaseStage | MemoryStage, device: torch.device) -> None:
    """Let a transformer that is to be trained compute as `runtime` wants it, in the way that is fastest there."""
    if stage.runtime.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    if device.type == "cpu" and autocast_of(stage) is torch.bfloat16:
        use_matrix_attention(transformer)


def seed_network(stage: VaeStage | BaseStage | MemoryStage, name: str) -> None:
    """New weights are drawn from torch's own generator: every process draws the same, in every sitting."""
    torch.manual_seed(seed_of(stage.seed, "weights", name))


def _known(stage: BaseStage | MemoryStage) -> tuple[int, ...]:
    conditioning = stage.conditioning
    known = ((1, conditioning.first_frame), (MOTION_FRAMES, conditioning.motion_frames))
    if conditioning.motion_frames and stage.data.num_frames < MOTION_FRAMES:
        raise SettingsError(
            f"conditioning.motion_frames gives {MOTION_FRAMES} frames, but clips have {stage.data.num_frames}: raise "
            "data.num_frames."
        )
    return tuple(count for count, share in known if share)


def vae_digest(vae: Any) -> str:
    """A short name for what a VAE makes of pixels: changes with its weights and with what its latents are scaled by."""
    scaled = [list(vae.config.latents_mean), list(vae.config.latents_std)]
    return hashlib.sha256(json.dumps([weights_digest(vae), scaled]).encode()).hexdigest()[:16]


def latent_folder(stage: BaseStage | MemoryStage, digest: str) -> str:
    """Name of the folder that cached latents go to: changes with everything that they depend on.

    Args:
        stage: the configuration.
        digest: of the VAE, see `vae_digest`.
    """
    data = stage.data
    parts = [
        digest,
        stage.runtime.precision,
        data.width,
        data.height,
        data.num_frames,
        data.keyframes_per_clip,
        data.variants,
        stage.seed,
    ]
    parts += [list(_known(stage)), stage.conditioning.augment.model_dump(exclude={"probability"})]
    if stage.conditioning.blank != "zeros":  # the default was there before it had a name
        parts.append(stage.conditioning.blank)
    return f"latents-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def make_loader(
    stage: BaseStage | MemoryStage, source: ClipSource, codec: LatentCodec, device: torch.device, digest: str
) -> SourceLoader | CachedLoader:
    """What encodes the clips of a source: footage to files, once; a world to memory, as the window moves.

    Args:
        stage: the configuration.
        source: of clips.
        codec: with the VAE.
        device: where latents are used.
        digest: of the VAE, see `vae_digest`.
    """
    data = stage.data
    loader = SourceLoader(
        source,
        codec,
        seed=stage.seed,
        known=_known(stage),
        keyframes=data.keyframes_per_clip,
        variants=data.variants,
        config=stage.conditioning.augment,
        empty=stage.conditioning.blank,
        device=device if data.store == "device" and data.world is not None else "cpu",
        dtype=dtype_of(stage.runtime.precision),
    )
    if data.folder is None:
        return loader
    return CachedLoader(loader, cast("FootageSource", source), data.folder / latent_folder(stage, digest))


def check_size(geometry: Geometry, patch_size: Sequence[int]) -> None:
    """Refuse a picture that the transformer's tokens do not cover evenly.

    Args:
        geometry: of the clips.
        patch_size: the transformer's: latent frames, rows and columns of a token.

    Raises:
        SettingsError: says what width and height must be a multiple of.
    """
    check_tokens(geometry.height, geometry.width, geometry.spatial_factor, patch_size, of="data.")


class DenoisingRun:
    """What both stages share: the clips, the VAE, the tasks and the sheets.

    A stage adds the tokenizer and the text encoder, and `prompts` where that one is frozen from the beginning.

    Args:
        stage: the configuration.
        accelerator: of the run.
        vae: turns clips into latents.
        described: refuse footage without captions; before it is encoded, which can take hours.
    """

    def __init__(
        self, stage: BaseStage | MemoryStage, accelerator: Accelerator, vae: Any, *, described: bool = True
    ) -> None:
        self.stage = stage
        self.accelerator = accelerator
        self.tokenizer: Any = None
        self.text_encoder: Any = None
        self.prompts: PromptCache | None = None
        self.trained: dict[str, Any] = {}
        if stage.sample.every and (stage.runtime.fsdp or stage.data.folder is not None):
            raise SettingsError(
                "sample sheets are made on worlds and without runtime.fsdp: set sample.every to 0, and look at "
                "`storymem generate` with the result."
            )
        apart = copy.deepcopy(vae) if stage.runtime.workers else None  # stays on the CPU, for other processes
        self.vae = vae.to(accelerator.device)
        quicken_stills(self.vae)
        self.codec = quick_codec(self.vae)
        self.source = open_data(stage.data)
        if described and stage.data.folder is not None:
            cast("FootageSource", self.source).require_captions()
        self.geometry = Geometry(
            stage.data.num_frames,
            stage.data.height,
            stage.data.width,
            self.codec.temporal_factor,
            self.codec.spatial_factor,
        )
        SamplingConfig(**sampling_of(stage, self.geometry))  # what a model is written with must be possible
        if isinstance(stage, BaseStage):
            check_size(self.geometry, stage.transformer.patch_size)
        # What a checkpoint of this run says of it beside its settings.
        digest = vae_digest(self.vae)
        self.notes: dict[str, Any] = {
            "settings": settings_of(stage),
            "clips": self.source.identity,
            "VAE": digest,
        }
        loader: GroupLoader = make_loader(stage, self.source, self.codec, accelerator.device, digest)
        if stage.runtime.workers:
            assert isinstance(loader, SourceLoader)  # of a world
            quicken_stills(apart)
            twin = make_loader(stage, self.source, quick_codec(apart), torch.device("cpu"), digest)
            assert isinstance(twin, SourceLoader)
            ordered = len(loader) - stage.data.held_out
            loader = DrawnAhead(loader, twin, stage.runtime.workers, ordered=ordered)
        self.store = ClipStore(loader, stage.data, windowed=stage.data.world is not None, scenes=scenes_of(self.source))
        self.notes |= division_of(self.store, self.source)
        if stage.conditioning.drop_memory < 1:  # said now, and not whenever so many keyframes are drawn
            self.store.table(0).with_memory(stage.conditioning.max_memory)
        for name, looked in (("validation", stage.validation), ("sample", stage.sample)):
            if looked.every:
                asked = min(looked.num_memory, stage.conditioning.max_memory)
                self.store.table_of(self.store.held_out).with_memory(asked, f"{name}.num_memory")
        if isinstance(loader, CachedLoader):
            with all_or_none(accelerator, "footage was encoded"):
                for index in range(accelerator.process_index, len(loader), accelerator.num_processes):
                    loader.load(index)
                if accelerator.is_main_process:
                    assert loader.blank is not None
            refuse_unseen(accelerator, loader.folder, "latents", loader.count_missing)
            self.vae.to("cpu")  # footage is in latents now

    def make_task(
        self,
        kind: Callable[..., _Task],
        name: str,
        module: Denoiser | ExpertPair,
        span: tuple[float, float],
        **options: Any,
    ) -> _Task:
        """A training of this run; see `DenoisingTask` for what is given."""
        return kind(
            self.stage,
            name,
            module,
            self.store,
            self.geometry,
            span,
            self.accelerator,
            draw_sheet=lambda: self._sheet(cast("Denoiser", module)),  # asked for with one expert alone
            **options,
        )

    def _sheet(self, denoiser: Denoiser) -> Any:
        text_encoder = self.text_encoder if denoiser.text_encoder is None else denoiser.text_encoder
        pipe = make_pipeline(denoiser.transformer, self.vae, text_encoder, self.tokenizer)
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=autocast_of(self.stage) is not None):
            return draw_sheet(pipe, self.store, self.stage, self.geometry, self.prompts)


def refuse_other_blank(stage: MemoryStage) -> None:
    """Raise `SettingsError` if a LoRA were to get used to other blank frames than the model under it is."""
    said = read_sampling(stage.model)
    trained, wanted = said.get("blank", "zeros"), stage.conditioning.blank
    if said and stage.train == "lora" and trained != wanted:
        raise SettingsError(
            f"conditioning.blank is {wanted}, but {stage.model} was trained with {trained}, as its sampling.json says: "
            f"set conditioning.blank to {trained}."
        )


def refuse_sheets_of_experts(stage: BaseStage | MemoryStage) -> None:
    """Raise `SettingsError` if sample sheets are asked for of a model with two experts."""
    if stage.sample.every:
        raise SettingsError(
            "sample sheets need the whole model, and of two experts only one is in memory: set sample.every to 0."
        )


def make_pipeline(transformer: Any, vae: Any, text_encoder: Any, tokenizer: Any) -> Any:
    """A pipeline around networks in training."""
    from storymem.pipeline import StoryMemPipeline

    parts = Components(transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer)
    pipe = StoryMemPipeline.from_components(parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_recogniser(stage: BaseStage | MemoryStage, source: ClipSource, transformer: Any) -> Recogniser | None:
    """What names subjects from the middle of a transformer, if the stage wants it.

    Raises:
        SettingsError: the source has nothing to say of its subjects.
    """
    if not stage.loss.recognition:
        return None
    if not source.classes:
        raise SettingsError(
            f"loss.recognition is set, but {stage.data.world} does not say what its subjects are: leave it out."
        )
    return Recogniser(transformer, source.classes)


def make_clause_marks(stage: BaseStage, source: ClipSource) -> ClauseMarks | None:
    """What asks the text encoder whose clause a word stands in, if the stage wants it.

    Raises:
        SettingsError: the captions of the source do not say.
    """
    if not stage.loss.clauses:
        return None
    if not any(isinstance(text, Caption) and len(text.clauses) > 1 for text in source.captions(_CAPTIONS_ASKED)):
        raise SettingsError(
            f"loss.clauses is set, but captions of {stage.data.world} do not say which words speak of which of several "
            "subjects: leave it out."
        )
    return ClauseMarks(stage.text_encoder.d_model)


def load_expert(folder: Path, name: str, dtype: torch.dtype) -> Any:
    """The transformer that a folder has for an expert; its only one for both, if it has one."""
    component = "transformer_2" if name == "low" and "transformer_2" in find_model(folder).parts else "transformer"
    return getattr(load_components(folder, dtype=dtype, only=[component]), component)


def expert_spans(names: Sequence[str], boundary: float) -> dict[str, tuple[float, float]]:
    """Noise levels of each expert."""
    known = {"model": (0.0, 1.0), "high": (boundary, 1.0), "low": (0.0, boundary)}
    return {name: known[name] for name in names}


def whole_copy(module: Any) -> Any:
    """A copy of a network on the CPU as it is now, whole even if it was sharded (then every process must ask)."""
    from storymem.training.checkpoint import full_tensor

    state = {name: full_tensor(tensor).clone() for name, tensor in module.state_dict().items()}
    if hasattr(module, "config") and hasattr(type(module), "from_config"):
        fresh = type(module).from_config(module.config)  # diffusers
    else:
        fresh = type(module)(module.config)  # transformers
    fresh.load_state_dict(state)
    return fresh
