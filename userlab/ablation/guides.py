"""The controls of CGE: another vector in CLIP's place, and late score fusion of CLIP with a model that has no guide.

A gain with random weights or with another image's vector is capacity. And knowledge can be had more cheaply: by
adding CLIP's own scores, with one weight chosen on the selection split, without training.
"""

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from userlib.data.captions import CaptionDataset
from userlib.errors import UserError
from userlib.evaluation import Ranks, ranks_from_scores, recalls
from userlib.evaluation.ranking import exact_products
from userlib.files import atomic_write_folder, cache_dir, sha256_bytes, sha256_text
from userlib.training import Prepared
from userlib.verify import MANIFEST

Array = NDArray[np.float32]
WEIGHTS = (0.0, *(round(float(w), 4) for w in np.geomspace(0.05, 20, 27)))  # of CLIP's scores next to 1


def with_guide(prepared: Prepared, kind: str) -> Prepared:
    """The same run with the guide of its images informed (as it is), random or mismatched."""
    if kind == "informed":
        return prepared
    change = {"random": _random, "mismatched": _mismatched}[kind]
    return replace(
        prepared,
        train=change(prepared, prepared.train),
        val=change(prepared, prepared.val),
        test=None if prepared.test is None else change(prepared, prepared.test),
    )


def _mismatched(prepared: Prepared, pairs: CaptionDataset) -> CaptionDataset:
    """Every image gets the vector of another one of its split, by the run's seed."""
    guide = _guide(pairs)
    order = np.random.default_rng([prepared.config.training.seed, 7]).permutation(len(guide))
    moved = np.empty_like(guide)
    moved[order] = guide[np.roll(order, 1)]
    return _given(pairs, moved)


def _random(prepared: Prepared, pairs: CaptionDataset) -> CaptionDataset:
    """The vectors of the same network before any training."""
    from userlib.data.tokens import extract

    data = prepared.config.data
    folder = random_clip(data.guide or "")
    features = extract(
        pairs.split,
        tokens=data.tokens,
        token_weights=None if data.token_weights is None else Path(data.token_weights),
        guide=f"open_clip:local-dir:{folder}",
        progress=False,
    )
    return _given(pairs, np.asarray(features.guide))


def random_clip(name: str) -> Path:
    """A local open_clip model with the random weights (seed 1), in the cache; name is a local one.

    Raises UserError for a model that is no local folder.
    """
    from safetensors.torch import save_file

    from userlib.data.clip import LOCAL, bare_clip, split_name

    model_name, _ = split_name(name)
    if not model_name.startswith(LOCAL):
        raise UserError(
            f"the guide {name!r} cannot have random weights here; it must be clip-mini or open_clip:local-dir:FOLDER."
        )
    source = Path(model_name.removeprefix(LOCAL))
    mark = sha256_bytes(sha256_text(source / "open_clip_config.json"), torch.__version__)[:16]
    folder = cache_dir() / "ablation" / f"random-clip-{mark}"
    if (folder / "open_clip_model.safetensors").is_file():
        return folder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # tests and clip-mini itself began with 0
        weights = {k: v.contiguous() for k, v in bare_clip(name).state_dict().items()}

    def write(target: Path) -> None:
        shutil.copytree(
            source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", MANIFEST)
        )
        save_file(weights, target / "open_clip_model.safetensors")

    atomic_write_folder(folder, write, once=True)
    return folder


def _guide(pairs: CaptionDataset) -> Array:
    if pairs.features.guide is None:
        raise UserError(f"the split {pairs.split.name!r} has no guide to put another one in its place.")
    return np.asarray(pairs.features.guide, np.float32)


def _given(pairs: CaptionDataset, guide: Array) -> CaptionDataset:
    """The same pairs with another guide; words stay numbered."""
    given = copy.copy(pairs)
    given.features = replace(pairs.features, guide=guide)
    return given


def clip_embeddings(name: str, pairs: CaptionDataset) -> tuple[Array, Array]:
    """CLIP's own images (N, G) and captions (M, G) of a split, unit norm; the images are its guide."""
    from userlib.search.encoders import OpenClipEncoder
    from userlib.search.protocol import encode_all

    return _guide(pairs), encode_all(OpenClipEncoder(name).encode_text, pairs.split.captions, size=256)


class Added(NamedTuple):
    """Ranks of both splits under the sum of scores, and the weight that CLIP's scores have in it."""

    select: Ranks
    report: Ranks
    weight: float


def add_scores(
    model: tuple[tuple[Array, Array], tuple[Array, Array]],
    clip: tuple[tuple[Array, Array], tuple[Array, Array]],
    owners: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Added:
    """model, clip: (images, captions) of the selection and of the report split; owners: their caption_to_image.

    score = model + w * clip, w of highest rSum on the selection split alone.
    """
    scores = [(_scores(*own), _scores(*other)) for own, other in zip(model, clip, strict=True)]
    (own, other), (own_report, other_report) = scores
    tried = {w: ranks_from_scores(own + w * other, owners[0]) for w in WEIGHTS}
    best = max(WEIGHTS, key=lambda w: recalls(tried[w]).rsum)
    return Added(tried[best], ranks_from_scores(own_report + best * other_report, owners[1]), best)


def _scores(images: Array, captions: Array) -> torch.Tensor:
    left, right = torch.from_numpy(images), torch.from_numpy(captions)
    with exact_products(left.device):
        return left @ right.T
