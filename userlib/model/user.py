"""USER (Zhang et al., IEEE TIP 2024): MomentumContrast with an image encoder that weights regions by a global guide."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from userlib.checkpoints import checkpoint_path, load_state_strict, read_checkpoint, write_checkpoint
from userlib.config import Config, ModelConfig, ObjectiveConfig, from_json, to_json
from userlib.data.captions import Batch
from userlib.data.extractors import choose_device
from userlib.data.tokenizers import Tokenizer, tokenizer_from_json
from userlib.errors import UserError
from userlib.files import read_checksummed
from userlib.model.contrast import Further, MomentumContrast, Output
from userlib.model.encoders import ImageEncoder, TextEncoder
from userlib.model.enhancement import ResidualScale
from userlib.model.hub import Shared, resolve
from userlib.model.momentum import MomentumEncoder
from userlib.model.neighbours.cross_attention import Scorer
from userlib.model.neighbours.training import TrainingTerms, added, scorer_term
from userlib.model.objective import ContrastiveLoss


class DualEncoder(Shared, nn.Module):
    """An image encoder and a text encoder into one space of E dimensions: all that search and evaluation need."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        image_encoder: ImageEncoder | None = None,
        text_encoder: TextEncoder | None = None,
        scorer: Scorer | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = image_encoder or ImageEncoder(config)
        self.text_encoder = text_encoder or TextEncoder(config)
        self.scorer = scorer or _scorer(config)
        self.loaded: Loaded | None = None  # tokenizer, settings and metadata, once it is trained or loaded

    def encode_image(self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """tokens (B,R,D), mask (B,R), guide (B,G) -> (B,E) of unit norm."""
        return self.image_encoder(tokens, mask, guide)  # type: ignore[no-any-return]

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W), attention_mask (B,W) -> (B,E) of unit norm."""
        return self.text_encoder(input_ids, attention_mask)  # type: ignore[no-any-return]

    def encode_regions(
        self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The regions that a scorer reads: tokens (B,R,D), mask (B,R), guide (B,G) -> (B,R,E), and the mask."""
        return self.image_encoder.vectors_of(tokens, mask, guide), mask

    def encode_words(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The words that a scorer reads: input_ids (B,W), attention_mask (B,W) -> (B,W,E), and the mask."""
        return self.text_encoder.enhanced(input_ids, attention_mask), attention_mask

    def load_start(self, tokens: str, token_weights: str | Path | None) -> None:
        """Loads the weights of pretrained networks: of text_model into the text encoder, and of the backbone `tokens`
        into a trained image tower. Raises UserError where they cannot be loaded or do not fit.
        """
        if self.config.text_model is not None:
            self.text_encoder.load_text(self.config.text_model)
        if self.image_encoder.tower is not None:
            self.image_encoder.tower.load(tokens, None if token_weights is None else Path(token_weights))

    def attention(
        self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The attention weights of `ImageEncoder.attention`."""
        return self.image_encoder.attention(tokens, mask, guide)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, *, device: str = "cpu", **fetching: Any
    ) -> "DualEncoder":
        """The best model of a run's folder, the model of a checkpoint, or the hub's `owner/name`, in evaluation mode.

        fetching: revision, token, cache_dir, force_download and local_files_only, as for `userlib.model.hub.resolve`.
        Raises UserError as `load_model` does.
        """
        return load_model(resolve(name, **fetching), device=choose_device(str(device))).model

    def _save(self, folder: Path, card: Mapping[str, Any], *, half: bool = False) -> None:
        """Writes the encoders with their tokenizer and settings, for `from_pretrained`, search and evaluation. half: in
        fp16. Raises UserError where the model has no tokenizer, which `fit` and `from_pretrained` set.
        """
        from userlib.model.card import model_card

        if self.loaded is None:
            raise UserError(
                "the model has no tokenizer, without which it cannot be used; train it with fit, or call save_model, "
                "which takes one."
            )
        known = self.loaded
        header = dict(card)
        text = model_card(header.pop("title", folder.name), known.config, known.metadata, header)
        save_model(folder, self, known.tokenizer, known.config, known.metadata, half=half, card=text)


class USER(MomentumContrast, DualEncoder):
    """The full model: `model(batch)` returns the losses of one batch as an `Output`; see `MomentumContrast.step`."""

    image_encoder: ImageEncoder
    text_encoder: TextEncoder
    image_momentum_encoder: MomentumEncoder[ImageEncoder]
    text_momentum_encoder: MomentumEncoder[TextEncoder]

    def __init__(self, model: ModelConfig, objective: ObjectiveConfig | None = None) -> None:
        MomentumContrast.__init__(
            self,
            ImageEncoder(model),
            TextEncoder(model),
            dim=model.embed_dim,
            queue_size=model.queue_size,
            momentum=model.momentum,
            loss=ContrastiveLoss(objective or ObjectiveConfig()),
            normalize=False,
        )
        self.config = model
        self.scorer = _scorer(model)
        self.terms = TrainingTerms(self.loss.config, model.embed_dim)
        self.loaded = None

    # the encoders, tokenizer and settings only: the queues are of no use beyond the run
    _save = DualEncoder._save

    @property
    def objective(self) -> ObjectiveConfig:
        """The settings of the loss."""
        return self.loss.config

    def ema_model(self) -> DualEncoder:
        """The momentum encoders as a model: an exponential moving average over the last steps."""
        return DualEncoder(
            self.config,
            image_encoder=self.image_momentum_encoder.encoder,
            text_encoder=self.text_momentum_encoder.encoder,
            scorer=self.scorer,
        ).eval()

    def init_from_data(self, tokens: Tensor, mask: Tensor | None = None) -> None:
        """To be called before the first step: sets the region norm and the learned residual scales from the first
        training images, tokens (B,R,D) or pixels (B,3,H,W), then copies the encoders into the momentum encoders.
        """
        made = self.image_encoder.whole_tokens(tokens)
        self.image_encoder.region_norm.init_from_data(made, mask)
        regions = self.image_encoder.region_norm(made)
        for scale in self.image_encoder.enhancement.residual_scales().values():
            scale.init_from_data(regions, mask)
        self.init_momentum_encoders()

    @torch.no_grad()
    def init_from_captions(self, input_ids: Tensor, attention_mask: Tensor) -> None:
        """To be called before the first step, once the text encoder has its initial weights: sets the learned residual
        scale of SGE on words from the first captions, input_ids and attention_mask (B,W), then copies the encoders
        into the momentum encoders. Does nothing where words have no SGE.
        """
        scales = self.text_encoder.enhancement.residual_scales()
        if scales:
            vectors = self.text_encoder.undropped(input_ids, attention_mask)
            for scale in scales.values():
                scale.init_from_data(vectors, attention_mask)
            self.init_momentum_encoders()

    def clamp_residual_scales(self) -> None:
        """To be called after an optimizer's step: clamps every learned residual scale to its range."""
        for module in self.modules():
            if isinstance(module, ResidualScale):
                module.clamp_()

    def forward(self, batch: Batch, *, count_queue: bool = True) -> Output:  # type: ignore[override]
        """One batch -> losses and embeddings; the terms of `TrainingTerms` and the scorer only in training mode."""
        return self.step(
            (batch.tokens, batch.token_mask, batch.guide),
            (batch.input_ids, batch.attention_mask),
            batch.image_ids,
            count_queue=count_queue,
            further=self._further(batch) if self.training else None,
        )

    def _further(self, batch: Batch) -> Further | None:
        """The sum of the terms that are added to the loss in training only."""
        terms = self.terms.of(batch)
        if self.scorer is not None:
            sides = self.image_encoder, self.text_encoder
            terms.append(scorer_term(self.objective, self.scorer, sides))
        return added(terms)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, *, device: str = "cpu", **fetching: Any
    ) -> "USER":
        """As `DualEncoder.from_pretrained`, with empty queues and the encoders copied into the momentum encoders,
        so that it can be trained further.
        """
        device = choose_device(str(device))
        loaded = load_model(resolve(name, **fetching), device=device)
        with torch.random.fork_rng(devices=[]):
            model = cls(loaded.config.model, loaded.config.objective).to(device).eval()
        for part in ("image_encoder", "text_encoder", *(["scorer"] if model.scorer is not None else [])):
            getattr(model, part).load_state_dict(getattr(loaded.model, part).state_dict())
        model.init_momentum_encoders()
        model.loaded = replace(loaded, model=model)
        return model


def _scorer(config: ModelConfig) -> Scorer | None:
    return None if config.scorer == "dot" else Scorer(config.scorer)


@dataclass(frozen=True)
class Loaded:
    """A trained model, ready for search and evaluation."""

    model: DualEncoder
    tokenizer: Tokenizer
    config: Config
    metadata: Mapping[str, Any]  # what it was trained on: data, guide statistics, metrics, provenance


def save_model(
    folder: Path,
    model: DualEncoder,
    tokenizer: Tokenizer,
    config: Config,
    metadata: Mapping[str, Any],
    *,
    half: bool = False,
    card: str | None = None,
) -> None:
    """Writes an inference checkpoint: encoders, tokenizer, configuration and metadata, without queues and optimizer.
    half: weights in fp16. card: the text of its README.md.
    """
    weights = encoder_weights(model)
    if half:
        weights = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    write_model(folder, weights, tokenizer, config, metadata, card=card)


def encoder_weights(model: DualEncoder) -> dict[str, Tensor]:
    """The weights of an inference checkpoint: of both encoders, and of the scorer where there is one."""
    return {
        **{f"image_encoder.{k}": v for k, v in model.image_encoder.state_dict().items()},
        **{f"text_encoder.{k}": v for k, v in model.text_encoder.state_dict().items()},
        **{f"scorer.{k}": v for k, v in (model.scorer.state_dict() if model.scorer else {}).items()},
    }


def write_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    config: Config,
    metadata: Mapping[str, Any],
    *,
    card: str | None = None,
) -> None:
    """`save_model` for `encoder_weights` that were taken before."""
    write_checkpoint(
        folder,
        weights,
        {"config": to_json(config), "tokenizer": tokenizer.to_json(), "metadata": dict(metadata)},
        card=card,
    )


def load_model(folder: str | Path, *, device: str = "cpu") -> Loaded:
    """The model of a run's folder (its best checkpoint) or of a checkpoint, in evaluation mode; where there is no such
    folder, the hub's `owner/name` or `owner/name@revision`.

    Raises UserError where there is no checkpoint, or where it is damaged or does not fit its configuration.
    """
    path, report = resolve(folder), {}
    if (path / "run.json").is_file():
        report = _report_of(path)
        path = checkpoint_path(path, "best")
    tensors, documents = read_checkpoint(path)
    if not {"config", "tokenizer", "metadata"} <= set(documents):
        raise UserError(f"{path} is not a checkpoint for inference; give the folder of the run.")
    config = from_json(Config, documents["config"], where=f"configuration of {path}")
    # the random weights drawn here are overwritten; the caller's random state is kept
    with torch.random.fork_rng(devices=[]):
        model = DualEncoder(config.model).to(device).eval()
    load_state_strict(model, tensors, where=str(path))
    tokenizer = tokenizer_from_json(documents["tokenizer"])
    model.loaded = loaded = Loaded(model, tokenizer, config, {**documents["metadata"], **report})
    return loaded


def _report_of(run: Path) -> dict[str, Any]:
    """{"report": split and metrics} of a run's folder; empty where it has no result, or one without a report."""
    if not (run / "result.json").is_file():
        return {}
    report = read_checksummed(run / "result.json", "Delete it, and evaluate the run again.").get("report")
    return {"report": {key: report[key] for key in ("split", "metrics")}} if report else {}
