"""The presets: whole configurations by name."""

import types
from collections.abc import Mapping
from dataclasses import replace

from userlib.arguments import one_of
from userlib.config import Config, DataConfig, ModelConfig, ObjectiveConfig, TrainingConfig


def _presets() -> dict[str, Config]:
    clip = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    patches = Config(
        data=DataConfig(
            data="umaru97/flickr30k_train_val_test",
            tokens=clip,
            guide=clip,
            val_split="val",
            test_split="test",
        ),
        model=ModelConfig(
            enhancement="sge+cge",
            text="clip",
            text_model=clip.removeprefix("open_clip:"),
            text_width=512,
            embed_dim=1024,
        ),
        training=TrainingConfig(epochs=10, lr=2e-4, text_lr_scale=0.05),
    )
    paper_model = ModelConfig(
        regions=36,
        region_dim=2048,
        embed_dim=1024,
        enhancement="sge",
        norm="batch",
        weight_init="xavier",
        residual_scale=1.0,
        text="bert",
        text_model="bert-base-uncased",
        text_width=768,
        text_layers=12,
        queue_size=2048,
        momentum=0.999,
    )
    paper = Config(
        data=DataConfig(data="path/to/features", tokens="precomputed", val_split="val", test_split="test"),
        model=paper_model,
        objective=ObjectiveConfig(leaky_positive=False, loss_weight=20.0),
        training=TrainingConfig(
            epochs=20, lr=5e-4, text_lr_scale=0.1, schedule="step", step_at=0.5, warmup=0.0, precision="fp32"
        ),
    )
    photos = Config(
        data=DataConfig(
            data="path/to/photos",
            tokens="efficientnet-lite2-wide",
            val_split="train:500",
            min_count=2,
        ),
        model=ModelConfig(
            enhancement="sge",
            embed_dim=512,
            region_scaling="root",
            principal_dim=512,
            region_channel_dropout=0.3,
            pooling="mean",
            text_width=192,
            word_width=256,
            init="cca",
            word_residual=True,
            word_dropout=0.1,
            text_dropout=0.3,
            text_pooling="mean",
            embed_dropout=0.1,
        ),
        objective=ObjectiveConfig(mu=30.0, gamma=0.4, loss_weight=4.0),
        training=TrainingConfig(
            epochs=2, lr=1e-4, warmup=0.1, caption_augment_prob=0.15, region_sample=27, use_ema=True
        ),
    )
    return {
        "paper-flickr30k": paper,
        "paper-coco": replace(
            paper,
            model=replace(paper_model, queue_size=4096),
            objective=replace(paper.objective, loss_weight=1.0),
            training=replace(paper.training, epochs=25, step_at=0.6),
        ),
        "clip-patches": patches,
        "clip-finetune": Config(
            data=replace(patches.data, guide=None, hflip=True),
            model=replace(
                patches.model,
                enhancement="none",
                train_image="all",
                pooling="tower",
                text_pooling="tower",
                embed_dim=512,
                queue_size=None,
            ),
            objective=ObjectiveConfig(name="infonce", temperature=0.01),
            training=TrainingConfig(epochs=10, lr=1e-5, warmup=0.1, caption_augment_prob=0.0),
        ),
        "user-clip": replace(
            patches,
            data=replace(patches.data, hflip=True),
            model=replace(patches.model, train_image="all"),
            training=replace(patches.training, image_lr_scale=0.05, warmup=0.1),
        ),
        "photos": photos,
        "photos-text": replace(
            photos,
            model=replace(
                photos.model,
                text="bert",
                text_model="sentence-transformers/all-MiniLM-L6-v2",
                text_width=384,
                text_layers=6,
                text_heads=12,
                train_text="none",
                text_dropout=0.1,
            ),
        ),
        "scenes": Config(
            data=DataConfig(data="scenes", val_split="val", test_split="test"),
            model=ModelConfig(
                enhancement="sge", embed_dim=256, text_width=256, word_width=128, region_scaling="standard"
            ),
            objective=ObjectiveConfig(mu=30.0, gamma=0.3),
            training=TrainingConfig(epochs=20, lr=1e-3, region_mask_prob=0.1),
        ),
    }


PRESETS: Mapping[str, Config] = types.MappingProxyType(_presets())


def preset(name: str) -> Config:
    """The preset of that name. Raises UserError, which lists the names, for any other."""
    one_of("preset", name, tuple(PRESETS))
    return PRESETS[name]
