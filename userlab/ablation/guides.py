"""The controls of CGE: another vector as the guide, and late score fusion of the guide's network with a model that has
no guide.

A gain that remains with random weights or with another image's vector comes from capacity, not from the guide's
knowledge. Late score fusion uses this knowledge without training: it adds the network's own scores, with one weight
chosen on the selection split. CLIP scores captions with its text encoder; for a network without one, scores come from a
CCA of its vectors with the captions' TF-IDF, fitted on train.
"""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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

if TYPE_CHECKING:
    from userlib.data.backbones import TimmExtractor

Array = NDArray[np.float32]
Embedded = tuple[Array, Array]  # images (N, E), captions (M, E)
WEIGHTS = (
    0.0,
    *(round(float(w), 4) for w in np.geomspace(0.05, 20, 27)),
)  # of the guide's scores; the model's have 1
WITH_TEXT = ("clip-mini", "open_clip")  # guides whose network has a text encoder


def with_guide(prepared: Prepared, kind: str) -> Prepared:
    """The same run with another guide. kind: "informed" (unchanged), "random" (from the network with random weights) or
    "mismatched" (each image has the vector of another one).
    """
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
    """Every image gets the vector of another one of its split, drawn by the run's seed."""
    guide = _guide(pairs)
    order = np.random.default_rng([prepared.config.training.seed, 7]).permutation(len(guide))
    moved = np.empty_like(guide)
    moved[order] = guide[np.roll(order, 1)]
    return _given(pairs, moved)


def _random(prepared: Prepared, pairs: CaptionDataset) -> CaptionDataset:
    """Every image gets its vector from the same network with random weights."""
    from userlib.data.tokens import extract

    data = prepared.config.data
    weights = None if data.token_weights is None else Path(data.token_weights)
    features = extract(
        pairs.split,
        tokens=data.tokens,
        token_weights=weights,
        guide=random_guide(data.guide or "", weights=weights if data.guide == data.tokens else None),
        progress=False,
    )
    return _given(pairs, np.asarray(features.guide))


def random_guide(name: str, *, weights: Path | None = None) -> str:
    """The name of a guide that is the same network with random weights (seed 1), stored in the cache. weights: the file
    of a timm network whose name does not include it.

    Raises UserError for a guide that is not a network, and for an open_clip model that is not a local folder.
    """
    from userlib.data.backbones import TimmExtractor
    from userlib.data.clip import LOCAL
    from userlib.data.extractors import make_extractor

    if reads_captions(name):
        return f"open_clip:{LOCAL}{random_clip(name)}"
    extractor = make_extractor(name, weights=weights)
    if not isinstance(extractor, TimmExtractor):
        raise _no_random(name)
    return f"timm:{_random_timm(extractor)}"


def reads_captions(name: str) -> bool:
    """Whether the guide's network has a text encoder."""
    return name.partition(":")[0] in WITH_TEXT


def _no_random(name: str) -> UserError:
    return UserError(
        f"The guide {name!r} cannot have random weights here; it must be clip-mini, open_clip:local-dir:FOLDER, "
        "efficientnet-lite2, timm:NAME or timm:FILE."
    )


def _random_timm(extractor: "TimmExtractor") -> Path:
    """A file with random weights, in the cache, with the JSON of the network's settings next to it."""
    import timm
    from safetensors.torch import save_file

    settings = json.dumps(extractor.settings, sort_keys=True)
    mark = sha256_bytes(settings, torch.__version__, timm.__version__)[:16]
    folder = cache_dir() / "ablation" / f"random-timm-{mark}"
    file = folder / "random.safetensors"
    if file.is_file():
        return file
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        weights = {k: v.contiguous() for k, v in extractor.untrained().state_dict().items()}

    def write(target: Path) -> None:
        (target / "random.json").write_text(settings, encoding="utf-8")
        save_file(weights, target / "random.safetensors")

    atomic_write_folder(folder, write, once=True)
    return file


def random_clip(name: str) -> Path:
    """The folder, in the cache, of the local open_clip model `name` with random weights (seed 1).

    Raises UserError for a model that is not a local folder.
    """
    from safetensors.torch import save_file

    from userlib.data.clip import LOCAL, bare_clip, split_name

    model_name, _ = split_name(name)
    if not model_name.startswith(LOCAL):
        raise _no_random(name)
    source = Path(model_name.removeprefix(LOCAL))
    mark = sha256_bytes(sha256_text(source / "open_clip_config.json"), torch.__version__)[:16]
    folder = cache_dir() / "ablation" / f"random-clip-{mark}"
    if (folder / "open_clip_model.safetensors").is_file():
        return folder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # clip-mini itself started from 0
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
        raise UserError(f"The split {pairs.split.name!r} has no guide that could be replaced; give --guide.")
    return np.asarray(pairs.features.guide, np.float32)


def _given(pairs: CaptionDataset, guide: Array) -> CaptionDataset:
    """The same pairs with another guide; captions are not tokenised again."""
    given = copy.copy(pairs)
    given.features = replace(pairs.features, guide=guide)
    return given


def clip_embeddings(name: str, pairs: CaptionDataset) -> tuple[Array, Array]:
    """CLIP's vectors of the images (N, G), which are the guide, and of the captions (M, G) of a split, at unit norm."""
    from userlib.search.encoders import OpenClipEncoder
    from userlib.search.protocol import encode_all

    return _guide(pairs), encode_all(OpenClipEncoder(name).encode_text, pairs.split.captions, size=256)


def cca_embeddings(
    train: CaptionDataset, select: CaptionDataset, report: CaptionDataset
) -> tuple[tuple[Embedded, Embedded], dict[str, Any]]:
    """Vectors at unit norm of the images and captions of the selection and of the report split, by a CCA of the guide's
    vectors with the captions' TF-IDF; and the settings of the CCA, which is fitted on train and chosen on select.
    """
    from userlib.baselines import cca

    made = cca(
        *((_guide(pairs), pairs.split.captions, pairs.caption_to_image) for pairs in (train, select, report))
    )
    return (made.select_vectors, made.vectors), made.facts


def guide_embeddings(prepared: Prepared) -> tuple[list[Embedded], dict[str, Any]]:
    """(images, captions) of the selection split and, where there is one, of the report split, whose dot products are
    the scores of the guide's network alone; and the settings of the CCA, where these come from one.
    """
    name = prepared.config.data.guide or ""
    splits = [pairs for pairs in (prepared.val, prepared.test) if pairs is not None]
    if reads_captions(name):
        return [clip_embeddings(name, pairs) for pairs in splits], {}
    made, facts = cca_embeddings(prepared.train, splits[0], splits[-1])
    return list(made[: len(splits)]), facts


class Added(NamedTuple):
    """Ranks on both splits by the sum of the scores, and the weight of the guide's scores in it."""

    select: Ranks
    report: Ranks
    weight: float


def add_scores(
    model: tuple[Embedded, Embedded],
    other: tuple[Embedded, Embedded],
    owners: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Added:
    """Late score fusion: score = model + w * other, with the w of highest rSum on the selection split.

    model, other: (images, captions) of the selection and of the report split; owners: their caption_to_image.
    """
    scores = [(_scores(*mine), _scores(*theirs)) for mine, theirs in zip(model, other, strict=True)]
    (own, added), (own_report, added_report) = scores
    tried = {w: ranks_from_scores(own + w * added, owners[0]) for w in WEIGHTS}
    best = max(WEIGHTS, key=lambda w: recalls(tried[w]).rsum)
    return Added(tried[best], ranks_from_scores(own_report + best * added_report, owners[1]), best)


def _scores(images: Array, captions: Array) -> torch.Tensor:
    left, right = torch.from_numpy(images), torch.from_numpy(captions)
    with exact_products(left.device):
        return left @ right.T
