"""The stages put together: what is loaded or built, trained, and written at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from storymem.errors import SettingsError
from storymem.models.checkpoints import load_components, load_tokenizer
from storymem.models.layouts import find_model
from storymem.models.lora import Lora, load_lora, merge_lora
from storymem.pipeline import DEFAULT_BOUNDARY_RATIO
from storymem.training.checkpoint import latest_checkpoint
from storymem.training.config import BaseStage, MemoryStage, VaeStage
from storymem.training.denoise import DenoisingTask
from storymem.training.encode import weights_digest
from storymem.training.guidance import GuidedTeacher
from storymem.training.judging import open_judge
from storymem.training.linear_start import start_linear
from storymem.training.loop import TrainedTask, train_task
from storymem.training.networks import (
    Denoiser,
    add_lora,
    build_text_encoder,
    build_transformer,
    build_vae,
    dtype_of,
    load_weights,
    start_lora,
)
from storymem.training.output import lora_tensors, replacing_folder, save_lora, save_model, save_vae
from storymem.training.reward import RewardTask
from storymem.training.run import TrainResult, settings_of
from storymem.training.samples import draw_sheet, sampling_of
from storymem.training.shared import (
    DenoisingRun,
    autocast_of,
    check_size,
    expert_spans,
    fit_to_runtime,
    make_clause_marks,
    make_pipeline,
    make_recogniser,
    open_data,
    refuse_other_blank,
    refuse_sheets_of_experts,
    seed_network,
    whole_copy,
)
from storymem.training.stills import quicken_stills
from storymem.training.store import GroupStore
from storymem.training.text import PromptCache, build_tokenizer, check_length
from storymem.training.vae import Autoencoder, PixelLoader, VaeTask, latent_statistics

if TYPE_CHECKING:
    from pathlib import Path

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
    store = GroupStore(loader, stage.data, windowed=is_world)
    vae = _new_vae(stage, store)
    task = VaeTask(stage, Autoencoder(vae, autocast_of(stage)), store, accelerator)
    notes = {"settings": settings_of(stage), "clips": source.identity}
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
    """Train a base or its memory; see the two classes below for what is written."""
    run: _BaseRun | _MemoryRun
    run = _BaseRun(stage, accelerator) if isinstance(stage, BaseStage) else _MemoryRun(stage, accelerator)
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
        SettingsError: the stage works on pixels, or on a world.
    """
    from storymem.training.run import make_accelerator

    if isinstance(stage, VaeStage) or stage.data.folder is None:
        raise SettingsError("latents are written for the stages base and memory, with data.folder.")
    accelerator = make_accelerator(stage)
    run = (
        _BaseRun(stage, accelerator, described=False)
        if isinstance(stage, BaseStage)
        else _MemoryRun(stage, accelerator)
    )
    return sum(run.source.size(index) for index in range(len(run.source)))


def _load_expert(folder: Path, name: str, dtype: torch.dtype) -> Any:
    """The transformer that a folder has for an expert; its only one for both, if it has one."""
    component = "transformer_2" if name == "low" and "transformer_2" in find_model(folder).parts else "transformer"
    return getattr(load_components(folder, dtype=dtype, only=[component]), component)


class _BaseRun(DenoisingRun):
    """A new transformer (or two experts), text encoder and tokenizer; written to ``OUTPUT/model``, a diffusers folder.

    The text encoder is trained together with the first expert and frozen for the second. An expert that is not trained
    is that of the weights at ``start``, whose only transformer is where both of two begin.
    """

    def __init__(self, stage: BaseStage, accelerator: Accelerator, *, described: bool = True) -> None:
        vae = load_components(None, vae=stage.vae, only=["vae"]).vae
        super().__init__(stage, accelerator, vae, described=described)
        self.stage = stage
        self.experts = ("model",) if stage.transformer.experts == 1 else ("high", "low")
        self.tasks = self.experts if stage.expert == "both" else (stage.expert,)
        if len(self.experts) > 1:
            refuse_sheets_of_experts(stage)
        self.spans = expert_spans(self.tasks, stage.transformer.boundary_ratio)
        self.tokenizer: Any = self._tokenizer()
        self.text_encoder: Any = None
        self.trained: dict[str, Any] = {}

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
        return DenoisingTask(
            stage,
            name,
            denoiser,
            self.store,
            self.geometry,
            self.spans[name],
            self.accelerator,
            **text,
            draw_sheet=lambda: self._sheet(denoiser),
        )

    def _new(self, name: str) -> Any:
        """One expert before it is trained."""
        stage = self.stage
        transformer = build_transformer(stage.transformer, self.vae.config.z_dim, stage.text_encoder.d_model)
        if stage.start is not None:
            load_weights(transformer, _load_expert(stage.start, name, torch.float32), stage.start)
        return transformer

    def _sheet(self, denoiser: Denoiser) -> Any:
        pipe = make_pipeline(denoiser.transformer, self.vae, denoiser.text_encoder, self.tokenizer)
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=autocast_of(self.stage) is not None):
            return draw_sheet(pipe, self.store, self.stage, self.geometry)

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


class _MemoryRun(DenoisingRun):
    """Memory for a model that exists: ``OUTPUT/lora``, or ``OUTPUT/model`` where all its weights were trained.

    Only one expert is in memory at a time. With footage, prompts are embedded before the training and the text encoder
    is let go.
    """

    def __init__(self, stage: MemoryStage, accelerator: Accelerator) -> None:
        files = find_model(stage.model)
        two = "transformer_2" in files.parts
        if not two and stage.expert != "both":
            raise SettingsError(
                f"{stage.model}: has one expert, so `expert: {stage.expert}` says nothing; leave it out."
            )
        refuse_other_blank(stage)
        parts = load_components(stage.model, only=["vae", "text_encoder", "tokenizer"])
        super().__init__(stage, accelerator, parts.vae)
        self.stage = stage
        self.tasks = ("model",) if not two else ("high", "low") if stage.expert == "both" else (stage.expert,)
        if two:
            refuse_sheets_of_experts(stage)
        ratio = DEFAULT_BOUNDARY_RATIO if files.boundary_ratio is None else files.boundary_ratio
        self.spans = expert_spans(self.tasks, ratio)
        self.boundary_ratio = ratio if two else None
        assert parts.text_encoder is not None
        assert parts.tokenizer is not None
        self.tokenizer = parts.tokenizer
        text_encoder = parts.text_encoder.to(accelerator.device)
        self.notes["text encoder"] = weights_digest(text_encoder)
        self.prompts = PromptCache(parts.tokenizer, text_encoder, accelerator.device, folder=stage.data.folder)
        if stage.data.folder is not None:
            from storymem.training.footage import FootageSource

            assert isinstance(self.source, FootageSource)
            if accelerator.is_main_process:
                negative = [] if stage.distil is None else [stage.distil.negative_prompt]
                self.prompts.fill(["", *negative, *self.source.all_captions()])
            accelerator.wait_for_everyone()
            self.prompts.release()
            text_encoder.to("cpu")
        # A LoRA is written without the model: then nothing needs the text encoder any more, which is 11 GB of Wan's.
        lora_on_footage = stage.data.folder is not None and stage.train == "lora"
        self.text_encoder: Any = None if lora_on_footage else text_encoder
        self.trained: dict[str, Any] = {}

    def task(self, name: str) -> DenoisingTask:
        """The training of one expert."""
        stage = self.stage
        frozen = dtype_of(stage.runtime.base_dtype) if stage.train == "lora" else torch.float32
        transformer = _load_expert(stage.model, name, frozen)
        check_size(self.geometry, transformer.config.patch_size)
        seed_network(stage, name)
        if stage.train == "lora" or stage.distil is not None:
            self.notes["model"] = weights_digest(transformer)  # no checkpoint holds it, nor a teacher
        begun = self._lora_at_start(name)
        if stage.train == "lora":
            add_lora(transformer, stage.lora)
            if begun is not None:
                start_lora(transformer, begun)
        else:
            if begun is not None:
                merge_lora(transformer, begun)
            transformer.requires_grad_(True)
        fit_to_runtime(transformer, stage, self.accelerator.device)
        recogniser = make_recogniser(stage, self.source, transformer)
        denoiser = Denoiser(transformer, None, autocast_of(stage), recogniser)
        parts = (stage, name, denoiser, self.store, self.geometry, self.spans[name], self.accelerator)
        options: dict[str, Any] = {"prompts": self.prompts, "draw_sheet": lambda: self._sheet(denoiser)}
        if stage.reward is None:
            return DenoisingTask(*parts, teacher=self._teacher(denoiser), **options)
        judge = open_judge(cast(str, stage.data.world), stage.reward.options)
        self.notes["judge"] = judge.identity
        other = self._other(name)
        return RewardTask(*parts, reward=stage.reward, judge=judge, codec=self.codec, other=other, **options)

    def _other(self, name: str) -> Denoiser | None:
        """The expert beside the one of that name, as the model has it, under the LoRA that training begins with."""
        if self.boundary_ratio is None:
            return None
        transformer = self._untrained("low" if name == "high" else "high")
        self.notes["other expert"] = weights_digest(transformer)  # no checkpoint of this one holds it
        fit_to_runtime(transformer, self.stage, self.accelerator.device)
        return Denoiser(transformer, None, autocast_of(self.stage))

    def _untrained(self, name: str) -> Any:
        transformer = _load_expert(self.stage.model, name, torch.float32)
        begun = self._lora_at_start(name)
        if begun is not None:
            merge_lora(transformer, begun)
        return transformer

    def _lora_at_start(self, name: str) -> Lora | None:
        start = self.stage.lora.start
        if start is None:
            return None
        pair = load_lora(start)
        begun = pair.low if name == "low" else pair.high
        if begun is None:
            raise SettingsError(f"lora.start: {start} has nothing for the {name} expert: give a LoRA that has.")
        return begun

    def _teacher(self, denoiser: Denoiser) -> GuidedTeacher | None:
        if self.stage.distil is None:
            return None
        apart = self.stage.train == "full"
        return GuidedTeacher(self.stage.distil, self.prompts, denoiser, apart=apart, device=self.accelerator.device)

    def _sheet(self, denoiser: Denoiser) -> Any:
        pipe = make_pipeline(denoiser.transformer, self.vae, self.text_encoder, self.tokenizer)
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=autocast_of(self.stage) is not None):
            return draw_sheet(pipe, self.store, self.stage, self.geometry, self.prompts)

    def keep(self, name: str, trained: TrainedTask) -> None:
        """Take the trained weights out of the run."""
        transformer = cast(Denoiser, trained.module).transformer
        if self.stage.train == "lora":
            self.trained[name] = lora_tensors(transformer)
        else:
            self.trained[name] = whole_copy(transformer)

    def write(self) -> Any:
        """Write the LoRA, or the model."""
        stage = self.stage
        if stage.train == "lora":
            sampling: dict[str, Any] = {}
            if stage.is_one_call:
                sampling |= {"guidance_scale": 1.0, "memory_guidance_scale": 1.0}
            if stage.conditioning.blank != "zeros":  # a model that says nothing of it is sampled with zeros
                sampling["blank"] = stage.conditioning.blank
            save_lora(stage.output / "lora", self.trained, stage.lora, sampling or None)
            return stage.output / "lora"
        experts = dict(self.trained)
        missing = {"high", "low"} - set(experts) if self.boundary_ratio is not None else set()
        for name in missing:
            experts[name] = self._untrained(name)
        save_model(
            stage.output / "model",
            transformer=experts.get("high", experts.get("model")),
            transformer_2=experts.get("low"),
            vae=self.vae.to("cpu"),
            text_encoder=self.text_encoder.to("cpu"),
            tokenizer=self.tokenizer,
            boundary_ratio=self.boundary_ratio,
            sampling=sampling_of(stage, self.geometry),
        )
        return stage.output / "model"
