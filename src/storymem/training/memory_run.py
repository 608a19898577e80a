"""The memory stage: what is loaded, trained and written."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

import torch

from storymem.conditioning.codec import LatentCodec
from storymem.errors import SettingsError
from storymem.models.checkpoints import load_components
from storymem.models.layouts import find_model
from storymem.models.lora import Lora, load_lora, merge_lora
from storymem.pipeline import DEFAULT_BOUNDARY_RATIO
from storymem.training.denoise import DenoisingTask
from storymem.training.encode import weights_digest
from storymem.training.guidance import GuidedTeacher
from storymem.training.judging import open_judge
from storymem.training.networks import Denoiser, add_lora, dtype_of, start_lora
from storymem.training.output import lora_tensors, save_lora, save_model
from storymem.training.processes import all_or_none, refuse_unseen
from storymem.training.reward import ExpertPair, RewardTask
from storymem.training.samples import lora_sampling_of, sampling_of
from storymem.training.shared import (
    DenoisingRun,
    autocast_of,
    check_size,
    expert_spans,
    fit_to_runtime,
    load_expert,
    make_recogniser,
    refuse_other_blank,
    refuse_sheets_of_experts,
    seed_network,
    whole_copy,
)
from storymem.training.text import PromptCache

if TYPE_CHECKING:
    from accelerate import Accelerator

    from storymem.training.config import MemoryStage
    from storymem.training.loop import TrainedTask
    from storymem.training.sections import RewardSection

__all__ = ["MemoryRun"]


class MemoryRun(DenoisingRun):
    """Memory for a model that exists: ``OUTPUT/lora``, or ``OUTPUT/model`` where all its weights were trained.

    Only one expert is in memory at a time, but where whole shots are made. With footage, prompts are embedded before
    the training and the text encoder is let go.
    """

    stage: MemoryStage
    prompts: PromptCache

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
        self.tasks = ("model",) if not two else ("high", "low") if stage.expert == "both" else (stage.expert,)
        if two:
            refuse_sheets_of_experts(stage)
        ratio = DEFAULT_BOUNDARY_RATIO if files.boundary_ratio is None else files.boundary_ratio
        self.spans = expert_spans(self.tasks, ratio)
        if len(self.tasks) > 1 and stage.reward is not None:  # both learn from the same shots
            self.tasks = ("both",)
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
            assert self.prompts.folder is not None
            negative = [] if stage.distil is None else [stage.distil.negative_prompt]
            prompts = list(dict.fromkeys(["", *negative, *self.source.all_captions()]))
            with all_or_none(accelerator, "prompts were embedded"):
                self.prompts.fill(prompts[accelerator.process_index :: accelerator.num_processes])
            refuse_unseen(
                accelerator, self.prompts.folder, "embeddings of prompts", lambda: self.prompts.count_missing(prompts)
            )
            self.prompts.release()
            text_encoder.to("cpu")
        # A LoRA is written without the model: then nothing needs the text encoder any more, which is 11 GB of Wan's.
        lora_on_footage = stage.data.folder is not None and stage.train == "lora"
        self.text_encoder = None if lora_on_footage else text_encoder

    def task(self, name: str) -> DenoisingTask:
        """The training of one expert, or of both."""
        if self.stage.reward is not None:
            return self._judged_task(name, self.stage.reward)
        denoiser, span = self._denoiser(name), self.spans[name]
        return self.make_task(
            DenoisingTask, name, denoiser, span, prompts=self.prompts, teacher=self._teacher(denoiser)
        )

    def _judged_task(self, name: str, reward: RewardSection) -> RewardTask:
        judge = open_judge(cast(str, self.stage.data.world), reward.options)
        self.notes["judge"] = judge.identity
        module: Denoiser | ExpertPair
        if self.boundary_ratio is None:
            module = self._denoiser(name)
        else:
            high, low = (self._denoiser(one, trained=one in self.spans) for one in ("high", "low"))
            module = ExpertPair(high, low, self.boundary_ratio)
        return self.make_task(
            RewardTask,
            name,
            module,
            (0.0, 1.0),  # shots are made at all levels, whichever expert learns
            prompts=self.prompts,
            reward=reward,
            judge=judge,
            teacher=self._keeper(),
            source=self.source,
            # Its own: diffusers keeps what a VAE remembers between frames in the VAE, and while shots are decoded the
            # next clips may be encoded in another thread.
            codec=LatentCodec(deepcopy(self.vae)),
            spans=tuple(self.spans.values()),
        )

    def _denoiser(self, name: str, *, trained: bool = True) -> Denoiser:
        """An expert with what is trained of it; or as it is, with the LoRA that training begins with in it."""
        stage = self.stage
        lora = stage.train == "lora" and trained
        # Weights that are all trained are float32 whatever is frozen is: `base_dtype` is refused then.
        transformer = load_expert(stage.model, name, dtype_of(stage.runtime.base_dtype))
        check_size(self.geometry, transformer.config.patch_size)
        seed_network(stage, name)
        if lora or not trained or stage.distil is not None:  # no checkpoint holds it, nor a teacher
            self.notes["model" if name in self.tasks else f"{name} expert"] = weights_digest(transformer)
        begun = self._lora_at_start(name)
        if lora:
            add_lora(transformer, stage.lora)
            if begun is not None:
                start_lora(transformer, begun)
        else:
            if begun is not None:
                merge_lora(transformer, begun)
            transformer.requires_grad_(trained)
        fit_to_runtime(transformer, stage, self.accelerator.device)
        return Denoiser(transformer, None, autocast_of(stage), make_recogniser(stage, self.source, transformer))

    def _lora_at_start(self, name: str) -> Lora | None:
        start = self.stage.lora.start
        if start is None:
            return None
        pair = load_lora(start)
        begun = pair.low if name == "low" else pair.high
        if begun is None:
            raise SettingsError(f"lora.start: {start} has nothing for the {name} expert: give a LoRA that has.")
        return begun

    def _keeper(self) -> GuidedTeacher | None:
        """The whole model as it is, without the LoRA that training begins with."""
        stage = self.stage
        if stage.distil is None:
            return None

        def whole(name: str) -> Denoiser:
            return Denoiser(load_expert(stage.model, name, torch.float32), None, autocast_of(stage))

        ratio = self.boundary_ratio
        module = whole("model") if ratio is None else ExpertPair(whole("high"), whole("low"), ratio)
        return GuidedTeacher(stage.distil, self.prompts, module, apart=True, device=self.accelerator.device)

    def _teacher(self, denoiser: Denoiser) -> GuidedTeacher | None:
        if self.stage.distil is None:
            return None
        apart = self.stage.train == "full"
        return GuidedTeacher(self.stage.distil, self.prompts, denoiser, apart=apart, device=self.accelerator.device)

    def keep(self, name: str, trained: TrainedTask) -> None:
        """Take the trained weights out of the run."""
        module = cast("Denoiser | ExpertPair", trained.module)
        pair = {"high": module.high, "low": module.low} if isinstance(module, ExpertPair) else {name: module}
        for expert, denoiser in pair.items():
            if expert not in self.spans:  # it was only asked
                continue
            transformer = denoiser.transformer
            self.trained[expert] = lora_tensors(transformer) if self.stage.train == "lora" else whole_copy(transformer)

    def write(self) -> Any:
        """Write the LoRA, or the model."""
        stage = self.stage
        if stage.train == "lora":
            save_lora(stage.output / "lora", self.trained, stage.lora, lora_sampling_of(stage))
            return stage.output / "lora"
        experts = dict(self.trained)
        missing = {"high", "low"} - set(experts) if self.boundary_ratio is not None else set()
        for name in missing:
            experts[name] = self._denoiser(name, trained=False).transformer
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
