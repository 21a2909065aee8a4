"""An ensemble of trained models: the mean of their scores of each image with each caption, at the cost of all of them.
Several seeds of one model are not an ensemble: for these, the metrics are averaged.
"""

import argparse
import os
from collections.abc import Sequence

import numpy as np

from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.evaluation import Ranks, embed, ranks
from userlib.scoring import Trained, data_of, pairs_for, trained


def members(arguments: argparse.Namespace) -> list[Trained]:
    """The models of --ensemble. Raises UserError for fewer than two, for one that is named twice, for one with a
    scorer, and together with --checkpoint.
    """
    folders = arguments.ensemble
    if arguments.checkpoint:
        raise UserError(
            "--checkpoint and --ensemble are both given; give only one, and --against a model to compare with."
        )
    if len(folders) < 2 or len({os.path.realpath(folder) for folder in folders}) != len(folders):
        raise UserError(f"--ensemble is {' '.join(folders)}; name two or more different models.")
    group = [trained(folder, arguments) for folder in folders]
    for one in group:
        if one.loaded.config.model.scorer != "dot":
            raise UserError(
                f"{one.folder} has the scorer {one.loaded.config.model.scorer!r}, and an ensemble averages the scores "
                "of embeddings. Score it by --checkpoint, or name models that were trained with --scorer dot."
            )
    return group


def score_ensemble(
    group: Sequence[Trained], split: Split, notes: list[str], *, other: bool
) -> dict[str, list[Ranks]]:
    """The ranks by the mean of all scores, and those of each model alone. other: the command line names the data;
    notes: a list for notes. Raises UserError where a model has other images or captions in the split of that name.
    """
    images, captions, alone = [], [], {}
    for model in group:
        own = split
        if model is not group[0]:
            own = data_of(model.config, model, other=other, needs_train=False, notes=notes).split(split.name)
        if not own.same_pairs(split):
            raise UserError(
                f"the split {split.name!r} of {group[0].folder} and that of {model.folder} have different images or "
                "captions, so their scores cannot be averaged. Name the same data for both by --data."
            )
        pairs = pairs_for(model, own, notes)
        vectors = embed(model.loaded.model, pairs)
        alone[model.folder] = [ranks(*vectors, pairs.caption_to_image)]
        images.append(vectors[0])
        captions.append(vectors[1])
    return {"ensemble": [ranks(joined(images), joined(captions), split.caption_to_image)], **alone}


def joined(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Unit vectors (N, E_i) of each model -> (N, sum of E_i), whose dot products are the mean of the models' scores."""
    return np.concatenate(vectors, axis=1) / np.float32(np.sqrt(len(vectors)))
