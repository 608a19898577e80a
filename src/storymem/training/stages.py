"""The stages put together: what is loaded or built, trained, and written at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from storymem.errors import SettingsError
from storymem.film.lock import locked
from storymem.film.out_of_memory import enough_memory
from storymem.models.checkpoints import load_components, load_tokenizer
from storymem.training.checkpoint import latest_checkpoint
from storymem.training.config import BaseStage, MemoryStage, VaeStage
from storymem.training.denoise import DenoisingTask
from storymem.training.encode import weights_digest
from storymem.training.linear_start import start_linear
from storymem.training.loop import TrainedTask, train_task
from storymem.training.memory_run import MemoryRun
from storymem.training.networks import (
    Denoiser,
    build_text_encoder,
    build_transformer,
    build_vae,
    load_weights,
)
from storymem.training.output import refuse_unlike_lora, replacing_folder, save_model, save_vae
from storymem.training.run import TrainResult, settings_of
from storymem.training.samples import lora_sampling_of, sampling_of
from storymem.training.shared import (
    DenoisingRun,
    autocast_of,
    division_of,
    expert_spans,
    fit_to_runtime,
    load_expert,
    make_clause_marks,
    make_recogniser,
    open_data,
    refuse_sheets_of_experts,
    scenes_of,
    seed_network,
    whole_copy,
)
from storymem.training.stills import quicken_stills
from storymem.training.store import GroupStore
from storymem.training.text import PromptCache, build_tokenizer, check_length
from storymem.training.vae import Autoencoder, PixelLoader, VaeTask, latent_statistics

if TYPE_CHECKING:
    from accelerate import Accelerator
    from diffusers import AutoencoderKLWan

    from storymem.training.log import RunLog

__all__ = ["encode_footage", "run_denoising", "run_vae"]

_STATISTICS_CLIPS = 256
_LINEAR_PICTURES = 1024


def run_vae(stage: VaeStage, accelerator: Accelerator, log: RunLog, accept_changes: bool) -> TrainResult:
    """Train a VAE, measure its latents, and write it to ``OUTPUT/vae``."""
    seed_network(stage, "vae")
    source = open_data(stage.data)
    # A folder is seen whole, but read a group at a time: pixels of all of it seldom fit into memory.
    is_world = stage.data.world is not None
    loader = PixelLoader(source, keep=0 if is_world else stage.data.pool)
    store = GroupStore(loader, stage.data, windowed=is_world, scenes=scenes_of(source))
    vae = _new_vae(stage, store)
    task = VaeTask(stage, Autoencoder(vae, autocast_of(stage)), store, accelerator)
    notes = {"settings": settings_of(stage), "clips": source.identity, **division_of(store, source)}
    if stage.vae.freeze_encoder and stage.vae.start is not None:  # no checkpoint holds it
        notes["encoder"] = weights_digest(torch.nn.ModuleList([vae.encoder, cast(Any, vae.quant_conv)]))
    trained = train_task(task, stage, accelerator, log, notes, accept_changes)
    result = TrainResult(samples_per_second={"vae": trained.samples_per_second})
    if accelerator.is_main_process:
        with trained.ema.applied():
            vae = cast(Autoencoder, trained.module).vae
            if not stage.vae.freeze_encoder:  # else latents are as they were, and models may have been trained on them
                groups = store.spread(stage.steps, _STATISTICS_CLIPS)
                clips = [clip for index in groups for clip in store.clips(index)][:_STATISTICS_CLIPS]
                mean, std = latent_statistics(vae, [*clips, *(clip[:, :1] for clip in clips)])
                vae.register_to_config(latents_mean=mean, latents_std=_scaled(std, stage.vae.latent_scale))
            save_vae(stage.output / "vae", vae)
        result.outputs.append(stage.output / "vae")
    accelerator.wait_for_everyone()
    return result


def _new_vae(stage: VaeStage, store: GroupStore[torch.Tensor]) -> AutoencoderKLWan:
    """The VAE a run begins with."""
    vae = build_vae(stage.vae)
    if stage.vae.start is not None:
        before = cast(Any, load_components(None, vae=stage.vae.start, only=["vae"]).vae)
        load_weights(vae, before, stage.vae.start)
        vae.register_to_config(latents_mean=before.config.latents_mean, latents_std=before.config.latents_std)
    elif stage.vae.init == "linear":
        clips = [clip for index in store.spread(0, _LINEAR_PICTURES) for clip in store.clips(index)]
        step = max(1, len(clips) // _LINEAR_PICTURES)
        pictures = torch.stack([clip[:, i % clip.shape[1]] for i, clip in enumerate(clips[::step])])
        start_linear(vae, pictures.float() / 127.5 - 1)
    vae.register_to_config(latents_std=_scaled(vae.config.latents_std, stage.vae.latent_scale))
    if stage.vae.freeze_encoder:
        vae.encoder.requires_grad_(False)
        cast(Any, vae.quant_conv).requires_grad_(False)
    quicken_stills(vae)
    return vae


def _scaled(std: Sequence[float], scale: Sequence[float]) -> list[float]:
    """`latents_std`, by which pipelines divide what models see, with `vae.latent_scale` in it."""
    return [a / b for a, b in zip(std, scale, strict=True)] if scale else list(std)


def run_denoising(
    stage: BaseStage | MemoryStage, accelerator: Accelerator, log: RunLog, accept_changes: bool
) -> TrainResult:
    """Train a base or its memory; see the two classes for what is written."""
    run: _BaseRun | MemoryRun
    if isinstance(stage, MemoryStage) and stage.train == "lora" and stage.expert != "both":
        # Before hours of work, not after them.
        refuse_unlike_lora(stage.output / "lora", stage.expert, stage.lora, lora_sampling_of(stage))
    run = _BaseRun(stage, accelerator) if isinstance(stage, BaseStage) else MemoryRun(stage, accelerator)
    result = TrainResult()
    for name in run.tasks:
        task = run.task(name)
        trained = train_task(task, stage, accelerator, log, run.notes, accept_changes)
        result.samples_per_second[name] = trained.samples_per_second
        with trained.ema.applied():
            run.keep(name, trained)
        del task, trained
        accelerator.free_memory()
    if accelerator.is_main_process:
        result.outputs.append(run.write())
    accelerator.wait_for_everyone()
    return result


def encode_footage(stage: VaeStage | BaseStage | MemoryStage) -> int:
    """Write the latents that a stage needs of prepared footage, and for a memory stage the embeddings of its prompts.

    Training does the same when it starts; done ahead, the machine with the accelerators need not decode video.

    Returns:
        The number of clips.

    Raises:
        SettingsError: the stage works on pixels, or on a world, or the folder is none of ours.
        FilmLockedError: another process prepares or encodes footage in the folder.
    """
    from storymem.training.footage import read_settings
    from storymem.training.run import make_accelerator

    if isinstance(stage, VaeStage) or stage.data.folder is None:
        raise SettingsError("latents are written for the stages base and memory, with data.folder.")
    folder = stage.data.folder
    read_settings(folder)  # else the lock would be left in a folder that is not ours, or in none
    # As one process on whatever is there, and not as the machines that are to train with it.
    alone = stage.runtime.model_copy(update={"fsdp": False, "device": "auto"})
    stage = stage.model_copy(update={"runtime": alone})
    accelerator = make_accelerator(stage)
    run: _BaseRun | MemoryRun
    remedy = "encode smaller or shorter clips, or on a machine with more of it; what is encoded stays"
    with locked(folder), enough_memory("while footage was encoded", remedy):
        if isinstance(stage, BaseStage):
            run = _BaseRun(stage, accelerator, described=False)
        else:
            run = MemoryRun(stage, accelerator)
    return sum(run.source.size(index) for index in range(len(run.source)))


class _BaseRun(DenoisingRun):
    """A new transformer (or two experts), text encoder and tokenizer; written to ``OUTPUT/model``, a diffusers folder.

    The text encoder is trained together with the first expert and frozen for the second. An expert that is not trained
    is that of the weights at ``start``, whose only transformer is where both of two begin.
    """

    stage: BaseStage

    def __init__(self, stage: BaseStage, accelerator: Accelerator, *, described: bool = True) -> None:
        vae = load_components(None, vae=stage.vae, only=["vae"]).vae
        super().__init__(stage, accelerator, vae, described=described)
        self.experts = ("model",) if stage.transformer.experts == 1 else ("high", "low")
        self.tasks = self.experts if stage.expert == "both" else (stage.expert,)
        if len(self.experts) > 1:
            refuse_sheets_of_experts(stage)
        self.spans = expert_spans(self.tasks, stage.transformer.boundary_ratio)
        self.tokenizer = self._tokenizer()

    def _tokenizer(self) -> Any:
        """That of the weights a run begins with, else learned from captions; kept, for both may change or go."""
        stage = self.stage
        root = stage.output / "checkpoints"
        kept = root / "tokenizer"
        if kept.is_dir() and latest_checkpoint(root, self.tasks[0]) is not None:
            return load_tokenizer(kept)
        tokenizer: Any
        if stage.start is not None:
            tokenizer = load_components(stage.start, only=["tokenizer"]).tokenizer
            check_length(tokenizer, stage.text_encoder, stage.start)
        else:
            tokenizer = build_tokenizer(self.source.captions(stage.text_encoder.captions), stage.text_encoder)
        if self.accelerator.is_main_process:
            with replacing_folder(kept) as temporary:
                tokenizer.save_pretrained(temporary)
        return tokenizer

    def task(self, name: str) -> DenoisingTask:
        """The training of one expert."""
        stage = self.stage
        seed_network(stage, name)
        transformer = self._new(name)
        if self.text_encoder is None:
            self.text_encoder = build_text_encoder(stage.text_encoder, self.tokenizer)
            if stage.start is not None:
                before: Any = load_components(stage.start, dtype=torch.float32, only=["text_encoder"])
                load_weights(self.text_encoder, before.text_encoder, stage.start)
        first = name == self.experts[0]
        if name == self.tasks[0] and not first:  # frozen from the beginning: no checkpoint holds it
            self.notes["text encoder"] = weights_digest(self.text_encoder)
        text_encoder = self.text_encoder.to(self.accelerator.device)
        fit_to_runtime(transformer, stage, self.accelerator.device)
        recogniser = make_recogniser(stage, self.source, transformer)
        clauses = make_clause_marks(stage, self.source) if first else None
        denoiser = Denoiser(transformer, text_encoder if first else None, autocast_of(stage), recogniser, clauses)
        text: dict[str, Any] = {"tokenizer": self.tokenizer}
        if not first:
            text = {"prompts": PromptCache(self.tokenizer, text_encoder, self.accelerator.device)}
        return self.make_task(DenoisingTask, name, denoiser, self.spans[name], **text)

    def _new(self, name: str) -> Any:
        """One expert before it is trained."""
        stage = self.stage
        transformer = build_transformer(stage.transformer, self.vae.config.z_dim, stage.text_encoder.d_model)
        if stage.start is not None:
            load_weights(transformer, load_expert(stage.start, name, torch.float32), stage.start)
        return transformer

    def keep(self, name: str, trained: TrainedTask) -> None:
        """Take the trained weights out of the run."""
        denoiser = cast(Denoiser, trained.module)
        self.trained[name] = whole_copy(denoiser.transformer)
        if denoiser.text_encoder is not None:
            self.text_encoder = whole_copy(denoiser.text_encoder).requires_grad_(False).eval()

    def write(self) -> Any:
        """Write the model."""
        folder = self.stage.output / "model"
        two = len(self.experts) > 1
        experts = {name: self.trained[name] if name in self.trained else self._new(name) for name in self.experts}
        save_model(
            folder,
            transformer=experts[self.experts[0]],
            transformer_2=experts.get("low"),
            vae=self.vae.to("cpu"),
            text_encoder=self.text_encoder.requires_grad_(False).eval(),
            tokenizer=self.tokenizer,
            boundary_ratio=self.stage.transformer.boundary_ratio if two else None,
            sampling=sampling_of(self.stage, self.geometry),
        )
        return folder
