"""The demo's own checkpoints, and the command that makes them.

    python -m usercourse.demo.models                     all of them, into assets/demo
    python -m usercourse.demo.models --only mean sge     some of them

Each is a small model trained on the embedded world, stored for inference only, in half precision. Next to it are the
vectors of the test images, their map and the model's failures, so that the page opens at once.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from usercourse.demo.engine import Engine
from usercourse.demo.failures import Failure, find_failures
from usercourse.demo.gallery import (
    MODEL_DIR,
    WORLD_SIZE,
    Gallery,
    pack,
    thumbnail,
    world_gallery,
    world_texts,
)
from usercourse.demo.projection import plane, sheet
from userlib.checkpoints import TENSORS, read_checkpoint, write_checkpoint
from userlib.errors import UserError
from userlib.files import sha256_file
from userlib.model.user import load_model, save_model
from userlib.presets import preset
from userlib.search import CheckpointEncoder
from userlib.search.exact import Array
from userlib.shipped import CLONE, RESTORE, is_clone

STEPS, IMAGES = 3_000, 16_000  # of each run: steps, and training images
LR, MAX_GRAD_NORM = (
    2e-3,
    0.5,
)  # the start values of the tuning in userlab.ablation.length; not tuned for each model
SMALL = {"embed_dim": 128, "text_width": 128, "word_width": 96}
FULL = {"enhancement": "sge+cge", "queue_size": 2048}
COLUMNS = 32  # images per row of the sheet


@dataclass(frozen=True)
class Recipe:
    """The title of a model of the demo, and its differences from the preset `scenes`."""

    title: str
    model: Mapping[str, Any] = field(default_factory=dict)
    guide: str | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)


RECIPES: Mapping[str, Recipe] = {
    "mean": Recipe("mean pooling", {"pooling": "mean", "text_pooling": "mean", "queue_size": None}),
    "sge": Recipe("SGE", {"enhancement": "sge", "queue_size": None}),
    "cge": Recipe("CGE", {"enhancement": "cge", "queue_size": None}, "clip-mini"),
    "full": Recipe("full, UTO", FULL, "clip-mini"),
    "infonce": Recipe("full, InfoNCE", FULL, "clip-mini", {"name": "infonce"}),
}


def available_models(model_dir: Path = MODEL_DIR) -> dict[str, str]:
    """The models that exist: {title: name}."""
    return {
        recipe.title: name
        for name, recipe in RECIPES.items()
        if (model_dir / name / "manifest.json").is_file()
    }


def remedy_of(model_dir: Path) -> str:
    """The remedy for a missing model."""
    if available_models(model_dir):
        return "Choose one of them."
    return f"{model_dir} has none: {RESTORE if is_clone() else CLONE}"


def open_engine(name: str, gallery: Gallery | None = None, model_dir: Path = MODEL_DIR) -> Engine:
    """The engine of a demo model over the test images. Raises UserError, which lists the models, for an unknown one."""
    if name not in available_models(model_dir).values():
        there = ", ".join(available_models(model_dir).values()) or "none"
        raise UserError(f"The demo has no model {name!r}; there are: {there}. {remedy_of(model_dir)}")
    gallery = gallery or world_gallery(model_dir)
    encoder = CheckpointEncoder(model_dir / name)
    extras = _extras(name, model_dir)
    if extras is not None and len(extras["vectors"]) == len(gallery):
        vectors = extras["vectors"].float().numpy()
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    else:  # the file is missing or belongs to another model: encode the images now
        pictures = [gallery.pictures[i] for i in range(len(gallery))]
        parts = [encoder.encode_image(pictures[i : i + 64]) for i in range(0, len(pictures), 64)]
        vectors = np.concatenate(parts)
    return Engine(RECIPES[name].title, encoder, gallery, vectors)


def stored_map(name: str, model_dir: Path = MODEL_DIR) -> Array | None:
    """The stored map (2 N, 2) of the images, then of their first captions; None where it must be made."""
    extras = _extras(name, model_dir)
    return None if extras is None else extras["map"].float().numpy()


def stored_failures(
    name: str, model_dir: Path = MODEL_DIR
) -> tuple[list[Failure], dict[str, int], int] | None:
    """The result of `find_failures` when the model was made; None where it must be computed again."""
    if _extras(name, model_dir) is None:
        return None
    failures = read_checkpoint(model_dir / f"{name}-gallery")[1]["failures"]
    return [Failure(**one) for one in failures["examples"]], failures["counts"], failures["captions"]


def stored_sheet(model_dir: Path = MODEL_DIR) -> bytes | None:
    """The sheet of the test images, COLUMNS per row, as a JPEG; None where there is none."""
    try:
        return bytes(read_checkpoint(model_dir / "gallery")[0]["sheet"].numpy())
    except UserError:
        return None


def _extras(name: str, model_dir: Path) -> dict[str, torch.Tensor] | None:
    """The tensors stored next to a model; None where there are none, or they were made with other weights."""
    try:
        tensors, documents = read_checkpoint(model_dir / f"{name}-gallery")
    except UserError:
        return None
    return tensors if documents["made-with"] == {"sha256": sha256_file(model_dir / name / TENSORS)} else None


def joint_map(engine: Engine) -> Array:
    """The plane (2 N, 2) of images, then of the first caption of each; (N, 2) where there are no captions.

    The means of images and captions are far apart (the modality gap, Liang et al., NeurIPS 2022). Each is subtracted,
    since the map would else show only this gap; ranks are not affected.
    """
    gallery = engine.gallery
    vectors = engine.index.vectors
    if gallery.captions:
        firsts = [gallery.captions_by_picture[i][0] for i in range(len(gallery))]
        captions = engine.text_vectors[firsts]
        vectors = np.concatenate([vectors - vectors.mean(0), captions - captions.mean(0)])
    return plane(vectors)


def write_map(name: str, model_dir: Path) -> None:
    """Makes the map of a model again; what else is stored with it stays."""
    tensors, documents = read_checkpoint(model_dir / f"{name}-gallery")
    points = torch.from_numpy(joint_map(open_engine(name, model_dir=model_dir))).half()
    documents = {key: value for key, value in documents.items() if key in ("failures", "made-with")}
    write_checkpoint(model_dir / f"{name}-gallery", {**tensors, "map": points}, documents)


# --- how they are made -----------------------------------------------------------------------------------


def train(
    name: str, model_dir: Path, command: str, *, steps: int = STEPS, images: int = IMAGES, lr: float = LR
) -> dict[str, float]:
    """Trains one model and stores it with its command and its metrics on the test images, which are returned."""
    from userlib.evaluation import bootstrap, embed, ranks
    from userlib.training import fit, prepare
    from userlib.training.preparing import metadata_of

    recipe = RECIPES[name]
    base = preset("scenes")
    config = replace(
        base,
        data=replace(base.data, guide=recipe.guide, test_split="test", sizes={"train": images}),
        model=replace(base.model, **{**SMALL, "enhancement": "none", **recipe.model}),
        objective=replace(base.objective, **recipe.objective),
        training=replace(base.training, steps=steps, lr=lr, max_grad_norm=MAX_GRAD_NORM, evaluate_every=0.25),
    )
    prepared = prepare(config)
    run = fit(prepared)
    best = max(run.rows, key=lambda row: row["rsum"])
    metadata = {**metadata_of(prepared, best), "command": command, "seconds": round(run.seconds)}
    save_model(model_dir / name, run.encoders, run.tokenizer, run.config, metadata, half=True)
    if prepared.test is None:
        raise UserError("The demo's models are reported on the test images; leave data.test_split as it is.")
    kept = load_model(model_dir / name).model  # with the stored, rounded weights
    vectors, captions = embed(kept, prepared.test)
    measured = bootstrap(ranks(vectors, captions, prepared.test.caption_to_image))
    test = {key: round(value.value, 2) for key, value in measured.items()}
    save_model(model_dir / name, kept, run.tokenizer, run.config, {**metadata, "test": test}, half=True)
    return test


def write_gallery(model_dir: Path) -> None:
    """Writes the captions, true pairs, thumbnails and sheet of the test images."""
    from userscenes import make_world

    world = make_world("test", WORLD_SIZE)
    captions, caption_to_image, pairs = world_texts(world)
    drawn = [world.picture(i) for i in range(len(world))]
    tiles = np.frombuffer(sheet(drawn, COLUMNS), np.uint8).copy()
    tensors = {
        "image-of": torch.from_numpy(caption_to_image.astype(np.int16)),
        "pairs": torch.from_numpy(pairs.astype(np.int16)),
        "sheet": torch.from_numpy(tiles),
        **pack([thumbnail(picture) for picture in drawn]),
    }
    write_checkpoint(model_dir / "gallery", tensors, {"captions": list(captions)})


def write_extras(name: str, model_dir: Path) -> None:
    """Writes the vectors, map and failures of a model over the test images."""
    from userlib.data.captions import CaptionDataset
    from userlib.data.tokens import extract
    from userlib.evaluation import embed

    gallery = world_gallery(model_dir)
    encoder = CheckpointEncoder(model_dir / name)
    loaded = encoder.loaded
    features = extract(gallery.as_split(), tokens=loaded.config.data.tokens, guide=loaded.config.data.guide)
    images, _ = embed(loaded.model, CaptionDataset(gallery.as_split(), features, loaded.tokenizer))
    engine = Engine(RECIPES[name].title, encoder, gallery, images)
    examples, counts, captions = find_failures(engine)
    tensors = {
        "vectors": torch.from_numpy(images).half(),
        "map": torch.from_numpy(joint_map(engine)).half(),
    }
    failures = {"examples": [asdict(one) for one in examples], "counts": counts, "captions": captions}
    made = {"sha256": sha256_file(model_dir / name / TENSORS)}
    write_checkpoint(model_dir / f"{name}-gallery", tensors, {"failures": failures, "made-with": made})


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=MODEL_DIR, help="the folder to write them into")
    parser.add_argument(
        "--only", nargs="+", choices=RECIPES, default=list(RECIPES), help="make only these models"
    )
    parser.add_argument("--map", action="store_true", help="train nothing; only lay out the maps again")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each run (default %(default)s)")
    parser.add_argument("--images", type=int, default=IMAGES, help="images to train on (default %(default)s)")
    parser.add_argument(
        "--lr", type=float, default=LR, help="the highest learning rate (default %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    try:
        if not (chosen.out / "gallery").exists():
            write_gallery(chosen.out)
        for name in chosen.only:
            if chosen.map:
                write_map(name, chosen.out)
                continue
            command = f"python -m usercourse.demo.models --only {name} --steps {chosen.steps}"
            command += f" --images {chosen.images} --lr {chosen.lr:g}"
            test = train(name, chosen.out, command, steps=chosen.steps, images=chosen.images, lr=chosen.lr)
            write_extras(name, chosen.out)
            print(f"{name}: " + ", ".join(f"{key} {value:.1f}" for key, value in test.items()), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
