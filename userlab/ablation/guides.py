"""The controls of CGE: another vector in the guide's place, and late score fusion of the guide's network with a model
that has no guide.

A gain with random weights or with another image's vector is capacity. And knowledge can be had more cheaply: by
adding the network's own scores, with one weight chosen on the selection split, without training. CLIP scores captions
by its text side. A network without one does so by a CCA of its vectors with the captions' TF-IDF, fitted on train.
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
WEIGHTS = (0.0, *(round(float(w), 4) for w in np.geomspace(0.05, 20, 27)))  # of the guide's scores next to 1
WITH_TEXT = ("clip-mini", "open_clip")  # guides whose network reads captions too


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
    """The name of a guide that is the same network with random weights (seed 1), which lie in the cache; weights: of a
    timm network that is named without them.

    Raises UserError for a guide that is no network, or whose network is not on this machine.
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
    """Whether the guide's network has a text side."""
    return name.partition(":")[0] in WITH_TEXT


def _no_random(name: str) -> UserError:
    return UserError(
        f"the guide {name!r} cannot have random weights here; it must be clip-mini, open_clip:local-dir:FOLDER, "
        "efficientnet-lite2, timm:NAME or timm:FILE."
    )


def _random_timm(extractor: "TimmExtractor") -> Path:
    """The file of random weights, with the JSON of how the network is built and fed next to it."""
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
    """A local open_clip model with the random weights (seed 1), in the cache; name is a local one.

    Raises UserError for a model that is no local folder.
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


def cca_embeddings(
    train: CaptionDataset, select: CaptionDataset, report: CaptionDataset
) -> tuple[tuple[Embedded, Embedded], dict[str, Any]]:
    """Images and captions of the selection and of the report split by a CCA of the guide's vectors with the captions'
    TF-IDF, unit norm; and what was chosen for it. It is fitted on train, and chosen on select alone.
    """
    from userlib.baselines import cca

    made = cca(
        *((_guide(pairs), pairs.split.captions, pairs.caption_to_image) for pairs in (train, select, report))
    )
    return (made.select_vectors, made.vectors), made.facts


def guide_embeddings(prepared: Prepared) -> tuple[list[Embedded], dict[str, Any]]:
    """What the guide's network alone makes of the selection split and, where there is one, of the report split:
    (images, captions) whose dot products are its scores; and what was chosen for it, if anything was.
    """
    name = prepared.config.data.guide or ""
    splits = [pairs for pairs in (prepared.val, prepared.test) if pairs is not None]
    if reads_captions(name):
        return [clip_embeddings(name, pairs) for pairs in splits], {}
    made, facts = cca_embeddings(prepared.train, splits[0], splits[-1])
    return list(made[: len(splits)]), facts


class Added(NamedTuple):
    """Ranks of both splits under the sum of scores, and the weight that the guide's scores have in it."""

    select: Ranks
    report: Ranks
    weight: float


def add_scores(
    model: tuple[Embedded, Embedded],
    other: tuple[Embedded, Embedded],
    owners: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Added:
    """model, other: (images, captions) of the selection and of the report split; owners: their caption_to_image.

    score = model + w * other, w of highest rSum on the selection split alone.
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
