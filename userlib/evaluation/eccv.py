"""ECCV Caption and CxC: metrics on COCO's test split with more relevant items than its captions have.

COCO counts one image as relevant to a caption, though others may show the same. ECCV Caption (Chun et al., ECCV 2022)
and CxC (Parekh et al., EACL 2021) name more relevant items; both come with the package eccv_caption. Its metrics are
fractions; here they are in percent.
"""

from typing import Any

import numpy as np
import torch

from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.evaluation.checks import Array
from userlib.evaluation.ranking import exact_products

METRICS = ("eccv_r1", "eccv_map_at_r", "eccv_rprecision", "cxc_recalls")


def eccv_caption(images: Array, captions: Array, split: Split) -> dict[str, dict[str, float]]:
    """images (5000, E), captions (25000, E) of COCO's test split -> {"eccv_map_at_r": {"i2t": .., "t2i": ..}, ..}.

    Raises UserError where the package is not installed, for a split without COCO's ids, and where images or captions of
    the ground truth are missing.
    """
    try:
        from eccv_caption import Metrics  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError(
            "ECCV Caption and CxC need the package eccv_caption, which is not installed: pip install eccv_caption."
        ) from error
    image_ids, caption_ids = coco_ids(split)
    metrics: Any = Metrics()
    ground_truth = {way: [metrics.eccv_gts[way], metrics.cxc_gts[way]] for way in ("i2t", "t2i")}
    for way, own, what in (("i2t", image_ids, "images"), ("t2i", caption_ids, "captions")):
        missing = {key for truth in ground_truth[way] for key in truth} - set(own.tolist())
        if missing:
            raise UserError(
                f"{len(missing):,} {what} of ECCV Caption and CxC are not in the split {split.name!r} (the first is "
                f"{min(missing)}). They need COCO's whole test split: 5,000 images with five captions each."
            )
    depth = max(
        10, *(len(relevant) for way in ground_truth.values() for truth in way for relevant in truth.values())
    )
    results = metrics.compute_all_metrics(
        _first(images, captions, image_ids, caption_ids, depth),
        _first(captions, images, caption_ids, image_ids, depth),
        target_metrics=METRICS,
        Ks=(1, 5, 10),
        verbose=False,
    )
    return {name: {way: 100 * float(share) for way, share in ways.items()} for name, ways in results.items()}


def coco_ids(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """COCO's ids of the images (N,) and captions (M,) of a split. Raises UserError where they are not COCO's."""
    if split.caption_ids is None:
        raise UserError(
            f"The split {split.name!r} has no caption ids; ECCV Caption and CxC need those of COCO. Use "
            "dataset_coco.json with the folder of its images."
        )
    try:
        image_ids = [int(name.rpartition(".")[0].rpartition("_")[2]) for name in split.ids]
        return np.array(image_ids), np.array([int(i) for i in split.caption_ids])
    except ValueError as error:
        raise UserError(
            f"The images or captions of {split.name!r} have no ids of COCO ({error}). ECCV Caption and CxC are for "
            "COCO's test split only; leave --eccv out."
        ) from error


def _first(
    queries: Array, gallery: Array, names: np.ndarray, others: np.ndarray, depth: int
) -> dict[int, list[int]]:
    """names (Q,) of the queries, others (G,) of the gallery -> for each query the names of its first `depth` hits."""
    left, right = torch.as_tensor(queries), torch.as_tensor(gallery)
    with exact_products(left.device):
        best = [
            (left[start : start + 512] @ right.T).topk(min(depth, len(right)), dim=1).indices
            for start in range(0, len(left), 512)
        ]
    rows = others[torch.cat(best).numpy()]
    return {int(name): row.tolist() for name, row in zip(names, rows, strict=True)}
