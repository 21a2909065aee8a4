"""clip-mini, which takes the part of CLIP: an open_clip model of two small transformers, trained on the pretrain world.

Images of 64 x 64 pixels in patches of 8 x 8 -> tokens (B, 64, 128) and a unit vector (B, 128). Its captions are the
alt texts of the pretrain world; its loss is CLIP's (Radford et al., ICML 2021, section 2.3). open_clip loads the folder
by `local-dir:`, including the tokenizer.
"""

import re
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from userlab.pretraining.assets import check_out, command_of, write_asset
from userlab.pretraining.bpe import FILLERS, Writer, learn_merges, make_tokenizer, save_tokenizer, words_of
from userlab.pretraining.drawing import Drawn, Wanted, drawn, shifted
from userlab.pretraining.loop import Schedule, optimise
from userlab.pretraining.settings import ClipConfig
from userlib.files import cache_dir, remove_folder, sha256_bytes, write_json

FILES = ("open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json")
SIDE, CONTEXT, WIDTH = 64, 32, 128
PIECES = 4000  # the largest vocabulary; the captions of the drawn world need fewer
MEAN, STD = 0.5, 0.25
SHIFT = 4  # pixels by which images are moved at most
CUT, NOISE = 0.2, 0.5  # probabilities that a caption has a split word, and inserted words (see bpe.Writer)
WORDS = 0.1  # the weight of the loss on naming words at the start; it decays to 0


def model_config(vocab: int) -> dict[str, Any]:
    """open_clip's JSON for the model."""
    return {
        "embed_dim": WIDTH,
        "vision_cfg": {"image_size": SIDE, "patch_size": 8, "width": WIDTH, "layers": 4, "head_width": 64},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocab,
            "width": WIDTH,
            "heads": 2,
            "layers": 2,
            "hf_tokenizer_name": "clip-mini",  # any name: open_clip takes the files of the folder
        },
    }


class Learner(nn.Module):
    """The model, and a classifier of words on its image vector, used only in training."""

    def __init__(self, vocab: int, words: list[str], seed: int) -> None:
        from open_clip.model import CLIP

        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.clip: Any = CLIP(**model_config(vocab))
            self.names = nn.Linear(WIDTH, len(words))
        nn.init.constant_(self.names.bias, -4.0)  # most images lack most words
        self.words = {word: i for i, word in enumerate(words)}

    def named_in(self, captions: list[list[str]]) -> Tensor:
        """The captions of B images -> (B, words): 1 where a caption of the image has the word, else 0."""
        named = torch.zeros(len(captions), len(self.words))
        for row, texts in enumerate(captions):
            columns = {self.words[word] for text in texts for word in plain(text) if word in self.words}
            named[row, sorted(columns)] = 1.0
        return named


def plain(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def scaled(pictures: np.ndarray) -> Tensor:
    """uint8 (B, 64, 64, 3) -> (B, 3, 64, 64), normalised as in the model's own preprocessing."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def clip_loss(images: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """CLIP's loss on unit vectors (B, E): the mean cross-entropy of each image's caption among all captions and of each
    caption's image among all images.
    """
    logits = scale * images.float() @ captions.float().T  # (B, B)
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def loss_at(step: int, *, learner: Learner, world: Drawn, writer: Writer, config: ClipConfig) -> Tensor:
    """CLIP's loss on the batch of a step, with one caption per image, plus a loss on naming the words of all five
    captions (Joulin et al., ECCV 2016), which speeds up the start of so short a run and decays to 0.
    """
    per_epoch = len(world) // config.batch_size
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([config.seed, 1, epoch]).permutation(len(world))
    rows = order[place * config.batch_size :][: config.batch_size]
    rng = np.random.default_rng([config.seed, 2, step])
    pictures = world.gather("pictures", rows)
    moves = rng.integers(0, 2 * SHIFT + 1, (len(rows), 2))
    pictures = np.stack([shifted(p, SHIFT, y, x) for p, (y, x) in zip(pictures, moves.tolist(), strict=True)])
    light = torch.from_numpy(rng.uniform(0.85, 1.15, (len(rows), 1, 1, 1))).float()
    captions = [world.captions[row] for row in rows.tolist()]
    words = torch.tensor([writer(texts[int(rng.integers(len(texts)))], rng) for texts in captions])
    with sdpa_kernel(
        SDPBackend.MATH
    ):  # for so few tokens faster on a CPU than the fused kernel's backward pass
        images = learner.clip.encode_image(scaled(pictures) * light)  # (B, E), not normalised
        vectors = learner.clip.encode_text(words, normalize=True)  # (B, E)
    scale = learner.clip.logit_scale.exp().clamp(max=100)
    naming = F.binary_cross_entropy_with_logits(
        learner.names(images).float(), learner.named_in(captions), reduction="sum"
    )
    weight = WORDS * (1 - step / config.steps) / len(rows)
    return clip_loss(F.normalize(images.float(), dim=-1), vectors, scale) + weight * naming


@torch.inference_mode()
def zero_shot(learner: Learner, tokenizer: Any, val: Drawn) -> dict[str, float]:
    """R@1 and R@10 in percent, in both directions, on the split val of scenes, whose captions have another style."""
    from userlib.evaluation import ranks, recalls

    model = learner.clip
    tokenizer.enable_truncation(CONTEXT)
    tokenizer.enable_padding(length=CONTEXT)
    texts = [text for five in val.captions for text in five]
    words = torch.tensor([row.ids for row in tokenizer.encode_batch(texts)])
    pictures = scaled(val.gather("pictures", np.arange(len(val))))
    images = torch.cat([model.encode_image(part, normalize=True) for part in pictures.split(250)])
    captions = torch.cat([model.encode_text(part, normalize=True) for part in words.split(250)])
    caption_to_image = np.repeat(np.arange(len(val)), [len(five) for five in val.captions])
    metrics = recalls(ranks(images.float().numpy(), captions.float().numpy(), caption_to_image))
    names = {
        "i2t_r1": "val i2t R@1",
        "i2t_r10": "val i2t R@10",
        "t2i_r1": "val t2i R@1",
        "t2i_r10": "val t2i R@10",
    }
    return {words: float(getattr(metrics, name)) for name, words in names.items()}


def pretrain_clip(
    config: ClipConfig, out: Path, *, processes: int = 1, val: int = 500, show: bool = True
) -> dict[str, Any]:
    """Trains clip-mini, or resumes its training, and writes its folder. Returns the provenance."""
    check_out(out, FILES)
    wanted = Wanted(split="pretrain", count=config.pictures, side=SIDE, captions=True)
    world = drawn(wanted, processes=processes, show=show)
    held = drawn(Wanted(split="val", count=val, side=SIDE, captions=True), processes=processes, show=show)
    texts = [text for five in world.captions[:10_000] for text in five]
    merges = learn_merges(words_of([*texts, *FILLERS]), PIECES - 259)
    tokenizer = make_tokenizer(merges)
    words = sorted(word for word, times in Counter(w for t in texts for w in plain(t)).items() if times >= 20)
    learner = Learner(tokenizer.get_vocab_size(), words, config.seed)
    state = (
        cache_dir()
        / "pretraining"
        / f"clip-mini-{sha256_bytes(repr(config), world.chunks[0].parent.name)[:16]}"
    )
    log = optimise(
        learner,
        partial(
            loss_at,
            learner=learner,
            world=world,
            writer=Writer(merges, context=CONTEXT, cut=CUT, noise=NOISE),
            config=config,
        ),
        Schedule(steps=config.steps, lr=config.lr, weight_decay=config.weight_decay),
        judge=partial(zero_shot, learner, tokenizer, held),
        judgements=min(config.steps, 3),
        state=state,
        what="clip-mini",
        show=show,
    )
    command = command_of("pretrain-clip", out, config)
    write = partial(save_clip, model=learner.clip, merges=merges)
    facts = write_asset(out, write, log, command=command, config=asdict(config), split="pretrain")
    remove_folder(state)
    return facts


def save_clip(folder: Path, *, model: nn.Module, merges: list[tuple[str, str]]) -> None:
    """Writes the files of an open_clip local-dir, with weights in fp16."""
    from safetensors.torch import save_file

    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    save_tokenizer(folder, merges, CONTEXT)
    preprocess = {"mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    vocab = len(weights["token_embedding.weight"])
    write_json(
        folder / "open_clip_config.json", {"model_cfg": model_config(vocab), "preprocess_cfg": preprocess}
    )
