"""Small data sets and networks in the exact form of the published ones, made by the tests."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

TEXT = "a dog runs over the grass with red ball two people sit on bench near water old man rides"
WORDS = TEXT.split()
COUNTS = {"train": 6, "val": 3, "test": 2}


def picture(seed: int, size: tuple[int, int] = (48, 36)) -> Image.Image:
    """A few coloured blocks that differ by seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


def jpeg(seed: int, size: tuple[int, int] = (48, 36)) -> bytes:
    file = io.BytesIO()
    picture(seed, size).save(file, "JPEG", quality=90)
    return file.getvalue()


def captions(seed: int, count: int = 5) -> list[str]:
    rng = np.random.default_rng(1000 + seed)
    return [" ".join(rng.choice(WORDS, size=int(rng.integers(3, 9)))) + " ." for _ in range(count)]


def hub_rows(split: str, count: int, *, first: int = 0, each: int = 5) -> list[dict]:
    """Rows as Flickr30K has them on the hub."""
    return [
        {
            "image": {"bytes": jpeg(first + i), "path": f"{first + i}.jpg"},
            "caption": captions(first + i, each),
            "sentids": [str(5 * (first + i) + k) for k in range(each)],
            "split": split,
            "img_id": str(first + i),
            "filename": f"{first + i}.jpg",
        }
        for i in range(count)
    ]


def write_rows(file: Path, rows: list[dict], *, group: int = 4, drop: tuple[str, ...] = ()) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    kept = [{key: value for key, value in row.items() if key not in drop} for row in rows]
    pq.write_table(pa.Table.from_pylist(kept), file, row_group_size=group)
    return file


def write_hub(folder: Path, counts: Mapping[str, int] = COUNTS, *, split_column: bool = True) -> Path:
    """data/SPLIT-00000-of-00001.parquet, as umaru97/flickr30k_train_val_test has them."""
    first = 0
    for split, count in counts.items():
        rows = hub_rows(split, count, first=first)
        drop = () if split_column else ("split",)
        write_rows(folder / "data" / f"{split}-00000-of-00001.parquet", rows, drop=drop)
        first += count
    return folder


def all_rows(counts: Mapping[str, int] = COUNTS) -> list[dict]:
    """Every row of every split, as nlphuji/flickr30k has them in one file."""
    rows: list[dict] = []
    for split, count in counts.items():
        rows += hub_rows(split, count, first=len(rows))
    return rows


def write_scan(folder: Path, counts: Mapping[str, int] = COUNTS, *, regions: int = 4, width: int = 8) -> Path:
    """SCAN's feature folder, with val under its name there, dev."""
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    for split, count in counts.items():
        part = "dev" if split == "val" else split
        features = np.random.default_rng(first).standard_normal((count, regions, width)).astype(np.float32)
        np.save(folder / f"{part}_ims.npy", features)
        texts = [text for i in range(count) for text in captions(first + i)]
        (folder / f"{part}_caps.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        (folder / f"{part}_ids.txt").write_text("\n".join(str(first + i) for i in range(count)) + "\n")
        first += count
    return folder


def write_pictures(folder: Path, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(seed))
    return folder


def karpathy(counts: Mapping[str, int], *, each: int = 5) -> dict:
    """Annotations as dataset_coco.json has them; the last image of each split has one caption more."""
    images = []
    for split, count in counts.items():
        for i in range(count):
            number = len(images)
            texts = captions(number, each + (i == count - 1))
            place = "val2014" if split in ("val", "test", "restval") else "train2014"
            images.append(
                {
                    "filepath": place,
                    "filename": f"COCO_{place}_{number:012d}.jpg",
                    "split": split,
                    "cocoid": number,
                    "imgid": number,
                    "sentences": [
                        {"raw": text, "tokens": text.split(), "sentid": k} for k, text in enumerate(texts)
                    ],
                }
            )
    return {"images": images, "dataset": "coco"}


def write_coco(folder: Path, result: dict, *, name: str = "dataset_small.json") -> Path:
    write_pictures(folder, [f"{image['filepath']}/{image['filename']}" for image in result["images"]])
    (folder / name).write_text(json.dumps(result), encoding="utf-8")
    return folder / name


def write_backbone(folder: Path, **changed: object) -> Path:
    """Weights of a tiny timm network, with the JSON that says how it is built and fed."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", num_classes=0)
    state = {k: v.half() for k, v in network.state_dict().items() if v.is_floating_point()}
    save_file(state, folder / "tiny.safetensors")
    settings = {
        "model": "test_resnet",
        "kwargs": {"num_classes": 0},
        "input_size": [3, 64, 64],
        "mean": [128, 128, 128],
        "std": [64, 64, 64],
        "range": "0-255",
        "tokens": {"from": "forward_features", "shape": [4, network.num_features], "grid": [2, 2]},
    }
    (folder / "tiny.json").write_text(json.dumps(settings | changed))
    return folder / "tiny.safetensors"


CLIP_CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


def write_clip(folder: Path) -> Path:
    """A tiny open_clip model with random weights, as a local-dir."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    mean = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": CLIP_CONFIG, "preprocess_cfg": mean})
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def write_bert(folder: Path) -> Path:
    """A tiny BERT vocabulary: letters, their continuations and some words."""
    from transformers import BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'"
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *("##" + c for c in letters),
        *WORDS[1:],
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder
