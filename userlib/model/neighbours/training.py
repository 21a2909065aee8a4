"""Terms that are added to the loss in training only: the relation graph, soft targets, and the loss of a scorer.

Each is a function (v, t, ids) -> scalar of the embeddings (B,E) and the image ids (B,) of this process's pairs.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from userlib.config import ObjectiveConfig
from userlib.data.captions import Batch
from userlib.errors import UserError
from userlib.model.contrast import Further, gather
from userlib.model.encoders import ImageEncoder, TextEncoder
from userlib.model.neighbours.cross_attention import Scorer
from userlib.model.neighbours.mining import chosen_scores, hardest
from userlib.model.neighbours.relation import RelationGraph
from userlib.model.neighbours.soft_targets import soft_target_loss
from userlib.model.objective import batch_loss, query_loss, same_image
from userlib.precision import autocast_disabled


def added(terms: list[Further]) -> Further | None:
    """The sum of the terms, as one term; None where there are none."""
    if not terms:
        return None
    return lambda v, t, ids: torch.stack([term(v, t, ids) for term in terms]).sum()


class TrainingTerms(nn.Module):
    """The terms that read only embeddings: the relation graph, the only one with parameters, and soft targets. Both
    compare the pairs of all processes.
    """

    def __init__(self, objective: ObjectiveConfig, width: int) -> None:
        super().__init__()
        self.objective = objective
        self.relation = RelationGraph(width) if objective.relation_weight > 0 else None

    def of(self, batch: Batch) -> list[Further]:
        """The terms with a weight above 0. Raises UserError for soft targets without a teacher's vectors."""
        terms: list[Further] = []
        if self.relation is not None:
            terms.append(relation_term(self.objective, self.relation))
        if self.objective.soft_weight > 0:
            if batch.guide is None or batch.caption_guide is None:
                raise UserError(
                    f"soft_weight is {self.objective.soft_weight} and the batch has no teacher's vectors; train by "
                    "fit with --guide, or give guide and caption_guide."
                )
            terms.append(soft_term(self.objective, batch.guide, batch.caption_guide))
        return terms


def relation_term(objective: ObjectiveConfig, relation: RelationGraph) -> Further:
    """The relation graph's losses times relation_weight."""

    def term(v: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        with autocast_disabled(v.device):
            losses = relation.loss(
                lambda scores, ids: batch_loss(objective, scores, ids), gather(v), gather(t), gather(ids)
            )
        return objective.relation_weight * losses

    return term


def soft_term(objective: ObjectiveConfig, teacher_images: Tensor, teacher_texts: Tensor) -> Further:
    """The loss of the batch's soft targets times soft_weight."""

    def term(v: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        with autocast_disabled(v.device):
            teachers = gather(teacher_images), gather(teacher_texts)
            loss = soft_target_loss(gather(v), gather(t), *teachers, temperature=objective.temperature)
        return objective.soft_weight * loss

    return term


def scorer_term(
    objective: ObjectiveConfig, scorer: Scorer, sides: tuple[ImageEncoder, TextEncoder]
) -> Further:
    """The scorer's loss times scorer_weight, over all of this process's pairs or those with the hardest negatives. It
    takes the vectors that the two encoders kept of the batch, and so clears them.
    """

    def term(v: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        (regions, region_mask), (words, word_mask) = (side.take() for side in sides)
        if word_mask is None:  # for the type checker: captions always have one
            word_mask = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
        diagonal = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
        ignore = same_image(ids) if objective.mask_same_image else diagonal
        if objective.scorer_negatives:
            with torch.no_grad():
                chosen = hardest(v @ t.t(), ignore, objective.scorer_negatives)
            scores = chosen_scores(scorer, regions, words, region_mask, word_mask, chosen)
            ignore = ~chosen | diagonal
        else:
            scores = scorer(regions, words, region_mask, word_mask)
        return objective.scorer_weight * scorer_loss(objective, scores, ignore)

    return term


def scorer_loss(objective: ObjectiveConfig, scores: Tensor, ignore_mask: Tensor) -> Tensor:
    """scores (B,B), ignore_mask (B,B) True where a pair is no negative -> scalar: the sum of the objectives named by
    objective.scorer_loss, each in both directions.
    """
    total = scores.new_zeros(())
    for name in objective.scorer_loss.split("+"):
        one, positive = replace(objective, name=name), scores.diagonal()
        total = total + query_loss(one, positive, scores, ignore_mask).mean()
        total = total + query_loss(one, positive, scores.t(), ignore_mask.t()).mean()
    return total
