"""Several trained models as one: the mean of their scores, image by caption. It costs as much as all of them. Seeds of
one model are another thing: their mean is that of their metrics.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.evaluation import Ranks, embed, ranks
from userlib.scoring import Trained, data_of, pairs_for, trained


def members(arguments: argparse.Namespace) -> list[Trained]:
    """The models named by --ensemble. Raises UserError for fewer than two, for one that is named twice, for one with a
    scorer, and where --checkpoint names others.
    """
    folders = arguments.ensemble
    if arguments.checkpoint:
        raise UserError(
            "--checkpoint and --ensemble are given; score the ensemble alone, or --against a model."
        )
    if len(set(folders)) < 2 or len(set(folders)) != len(folders):
        raise UserError(f"--ensemble {' '.join(folders)} is no ensemble; name two or more different models.")
    group = [trained(folder, arguments) for folder in folders]
    for one in group:
        if one.loaded.config.model.scorer != "dot":
            raise UserError(
                f"{one.folder} has the scorer {one.loaded.config.model.scorer!r}, and an ensemble is the mean of the "
                "scores of embeddings. Score it alone by --checkpoint, or name models that were trained with --scorer "
                "dot."
            )
    return group


def score_ensemble(
    group: Sequence[Trained], split: Split, notes: list[str], *, other: bool
) -> dict[str, list[Ranks]]:
    """The ranks of the mean of all scores, and of each model alone. Models may differ in everything but the images:
    UserError where a model has others in the split of that name. other: the command line names the data.
    """
    images, captions, alone = [], [], {}
    for model in group:
        own = split
        if model is not group[0]:
            own = data_of(model.config, model, other=other, needs_train=False, notes=notes).split(split.name)
        if own.fingerprint != split.fingerprint:
            raise UserError(
                f"the split {split.name!r} of {group[0].folder} and that of {model.folder} hold different images, so "
                "that their scores have no mean. Name the same data for both by --data."
            )
        pairs = pairs_for(model, own, notes)
        vectors = embed(model.loaded.model, pairs)
        alone[model.folder] = [ranks(*vectors, pairs.caption_to_image)]
        images.append(vectors[0])
        captions.append(vectors[1])
    return {"ensemble": [ranks(joined(images), joined(captions), split.caption_to_image)], **alone}


def joined(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """(N, E_i) of each model, of unit norm -> (N, sum of E_i), of unit norm: their dot product is the mean of the
    models' scores.
    """
    return np.concatenate(vectors, axis=1) / np.float32(np.sqrt(len(vectors)))
