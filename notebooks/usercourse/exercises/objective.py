"""Exercises of notebook 06: the gradient on negatives, a stable negative term, masks, the loss of a batch, a leaky
positive term.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F

from usercourse.checks import Exercise
from usercourse.gradients import value_and_gradient
from userlib.model.objective import uto_negative, uto_positive

HAND = torch.tensor([0.5, 0.7, -0.2])
FEW = torch.tensor([0.9, 0.1, 0.45, 0.3], dtype=torch.float64)
STEEP = torch.tensor([1.0, 0.99, -1.0])
LOW = torch.tensor([-0.3, 0.1, 0.2])
ROWS = torch.tensor([[0.8, 0.2, 0.6], [0.1, 0.7, 0.3]])
LEFT_OUT = torch.tensor([[True, False, False], [False, False, True]])
ALL_OUT = torch.tensor([[True, True, True], [False, True, False]])
BATCH = 0.6 * torch.tensor(
    [[0.9, 0.4, 0.7, -0.2], [0.1, 0.8, 0.5, 0.6], [0.6, -0.3, 1.0, 0.2], [0.3, 0.7, -0.1, 0.5]]
)
BELOW = torch.tensor([-0.9, -0.5, -0.1, 0.0, 0.1, 0.6])


def negative_gradient(s: Any, mu: float, gamma: float) -> Any:
    weight = torch.exp(mu * (s - gamma))
    return weight / (1 + weight.sum())


def stable_negative(s: Any, mu: float, gamma: float) -> Any:
    return F.softplus(torch.logsumexp(mu * (s - gamma), 0)) / mu


def _naive_push(s: Any, mu: float, gamma: float) -> Any:
    return torch.log(1 + torch.exp(mu * (s - gamma)).sum()) / mu


def _shifted_wrongly(s: Any, mu: float, gamma: float) -> Any:
    x = mu * (s - gamma)
    return (x.max() + torch.log(1 + torch.exp(x - x.max()).sum())) / mu


def masked_negative(s: Any, ignore_mask: Any, mu: float, gamma: float) -> Any:
    return uto_negative(s, ignore_mask, mu=mu, gamma=gamma)


def _masked_first(s: Any, ignore_mask: Any, mu: float, gamma: float) -> Any:
    """By hand, with the largest subtracted: a row of -inf alone gives NaN."""
    x = (mu * (s - gamma)).masked_fill(ignore_mask, -math.inf)
    top = x.max(1, keepdim=True).values
    return F.softplus(top[:, 0] + torch.log(torch.exp(x - top).sum(1))) / mu


# --- batch_uto: the loss that passed its test ----------------------------------------------------------------
def batch_uto(
    S: Any, ids: Any, mu: float, gamma: float,
    *, same: Any = None, columns: int = 0, positives: float = 1.0, masked: float = -math.inf,
) -> Any:  # fmt: skip
    """What is correct; the keywords spoil it."""
    same = ids[:, None] == ids[None, :] if same is None else same
    x = (mu * (S - gamma)).masked_fill(same, masked)
    terms = [F.softplus(torch.logsumexp(x, dim)) / mu for dim in (1, columns)]
    return (terms[0] + terms[1] - positives * torch.log1p(S.diagonal().relu())).mean()


def _diagonal(ids: Any) -> Any:
    return torch.eye(len(ids), dtype=torch.bool)


def _spoilt(**changes: Any) -> Any:
    return lambda S, ids, mu, gamma: batch_uto(S, ids, mu, gamma, **changes)


def _as_it_stood(S: Any, ids: Any, mu: float, gamma: float) -> Any:
    return batch_uto(S, ids, mu, gamma, same=_diagonal(ids), columns=1)


def _diagonal_alone(S: Any, ids: Any, mu: float, gamma: float) -> Any:
    return batch_uto(S, ids, mu, gamma, same=_diagonal(ids))


def _pair_as_negative(S: Any, ids: Any, mu: float, gamma: float) -> Any:
    return batch_uto(S, ids, mu, gamma, same=(ids[:, None] == ids[None, :]) & ~_diagonal(ids))


def _others_masked(S: Any, ids: Any, mu: float, gamma: float) -> Any:
    return batch_uto(S, ids, mu, gamma, same=ids[:, None] != ids[None, :])


def _one_direction(S: Any, ids: Any, mu: float, gamma: float) -> Any:
    same = ids[:, None] == ids[None, :]
    return (uto_negative(S, same, mu=mu, gamma=gamma) - torch.log1p(S.diagonal().relu())).mean()


def _sum_of_pairs(S: Any, ids: Any, mu: float, gamma: float) -> Any:
    return len(S) * batch_uto(S, ids, mu, gamma)


def _mean_of_queries(S: Any, ids: Any, mu: float, gamma: float) -> Any:
    return batch_uto(S, ids, mu, gamma) / 2


def _in_scores(answer: Any, *case: Any) -> Any:
    return value_and_gradient(answer, case, ("S",))


def leaky_positive(s: Any) -> Any:
    return uto_positive(s, leaky_positive=True)


def _both(answer: Any, *case: Any) -> Any:
    """The answer and its gradient in the scores."""
    return value_and_gradient(answer, case, ("s",))


def _no_one(s: Any, mu: float, gamma: float) -> Any:
    return torch.softmax(mu * (s - gamma), 0)


def _each_alone(s: Any, mu: float, gamma: float) -> Any:
    return torch.sigmoid(mu * (s - gamma))


def _no_gamma(s: Any, mu: float, gamma: float) -> Any:
    return negative_gradient(s, mu, 0.0)


def _with_mu(s: Any, mu: float, gamma: float) -> Any:
    return mu * negative_gradient(s, mu, gamma)


def _push_without_one(s: Any, mu: float, gamma: float) -> Any:
    return torch.logsumexp(mu * (s - gamma), 0) / mu


def _push_without_mu(s: Any, mu: float, gamma: float) -> Any:
    return mu * stable_negative(s, mu, gamma)


def _masked_to(value: float) -> Any:
    return lambda s, out, mu, gamma: uto_negative(s.masked_fill(out, value), None, mu=mu, gamma=gamma)


def _mask_upside_down(s: Any, ignore_mask: Any, mu: float, gamma: float) -> Any:
    return uto_negative(s, ~ignore_mask, mu=mu, gamma=gamma)


def _masked_naive(s: Any, ignore_mask: Any, mu: float, gamma: float) -> Any:
    return torch.log(1 + torch.exp(mu * (s - gamma)).masked_fill(ignore_mask, 0.0).sum(1)) / mu


def _mask_lost(s: Any, ignore_mask: Any, mu: float, gamma: float) -> Any:
    return uto_negative(s, None, mu=mu, gamma=gamma)


def _exact_pull(s: Any) -> Any:
    return uto_positive(s, leaky_positive=False)


def _bare_logarithm(s: Any) -> Any:
    return -torch.log1p(s)


def _two_relus(s: Any) -> Any:
    return -torch.log1p(s.relu()) + (-s).relu()


def _wrong_sign(s: Any) -> Any:
    return torch.where(s > 0, -torch.log1p(s.relu()), s)


EXERCISES = [
    Exercise(
        name="negative_gradient",
        right=negative_gradient,
        cases=[(HAND, 10.0, 0.5), (FEW, 5.0, 0.4), (LOW, 20.0, 0.2)],
        mistakes={
            "The 1 of log(1 + ...) stays in the denominator. Without it the weights always sum to 1, and "
            "UTO would have a gradient even where no negative is near gamma.": _no_one,
            "The factor mu of the exponent and the 1/mu in front cancel: no mu is left outside the "
            "exponentials.": _with_mu,
            "The negatives share one denominator: the sum runs over all of them, so a hard one takes from "
            "the others.": _each_alone,
            "The exponentials are of mu (s - gamma), not of mu s: gamma is where a negative starts to "
            "count.": _no_gamma,
        },
        praise="A softmax with one more class, the null class, whose score is gamma.",
    ),
    Exercise(
        name="stable_negative",
        right=stable_negative,
        cases=[
            (HAND, 10.0, 0.5),
            (STEEP, 200.0, 0.5),
            (LOW, 90.0, 0.5),
            (HAND.half(), 90.0, 0.5),
            (STEEP.double(), 2000.0, 0.5),
        ],
        mistakes={
            "It overflows: at mu = 200 the exponential exceeds what single precision can hold, and in half "
            "precision sooner. Take the logarithm of the sum without making the sum: "
            "logsumexp.": _naive_push,
            "The 1 in log(1 + ...) is missing. Where no negative comes near gamma the negative term must be 0, and "
            "yours is below 0.": _push_without_one,
            "The 1/mu in front is missing.": _push_without_mu,
            "When the largest exponent m is taken out, the 1 becomes exp(-m); it does not stay "
            "1.": _shifted_wrongly,
        },
        praise="Finite at every mu, and zero where nothing is near.",
    ),
    Exercise(
        name="masked_negative",
        right=masked_negative,
        cases=[
            (ROWS, LEFT_OUT, 20.0, 0.5),
            (ROWS, LEFT_OUT, 2.0, 0.1),
            (ROWS, ALL_OUT, 90.0, 0.5),
            (ROWS, LEFT_OUT, 200.0, 0.1),
        ],
        probe=_both,
        mistakes={
            "A masked score set to 0 still counts, as exp(-mu gamma). What must not count needs an exponent "
            "of minus infinity.": _masked_to(0.0),
            "A masked score set to -1 still counts a little, and more the smaller mu is. What must not count "
            "needs an exponent of minus infinity.": _masked_to(-1.0),
            "That leaves out what should stay and keeps what should go: ignore_mask is True where a score is "
            "no negative.": _mask_upside_down,
            "It overflows: at mu = 200 the exponential exceeds what single precision can hold. Take the logarithm of "
            "the sum without making the sum: torch.logsumexp.": _masked_naive,
            "The mask is not used.": _mask_lost,
            "A row with everything masked gives NaN: minus infinity - minus infinity. torch.logsumexp "
            "takes care of such a row.": _masked_first,
        },
        praise="Even a row with nothing left has loss 0 and gradient 0.",
    ),
    Exercise(
        name="batch_uto",
        right=batch_uto,
        cases=[
            (BATCH, torch.arange(4), 10.0, 0.2),
            (BATCH, torch.tensor([3, 8, 3, 5]), 10.0, 0.2),
            (BATCH, torch.tensor([3, 8, 8, 8]), 30.0, 0.3),
            (BATCH + BATCH.T, torch.tensor([6, 6, 1, 1]), 5.0, 0.5),
        ],
        probe=_in_scores,
        mistakes={
            "That is the function as it stood. One of its faults shows where S is not symmetric, the other where two "
            "pairs are of one image.": _as_it_stood,
            "One of the two is found, the direction of the columns. The other: another caption of the same image is no "
            "negative, and the diagonal is not all that must be masked.": _diagonal_alone,
            "One of the two is found, the mask. The other: both lines run along the rows; a caption's negatives are "
            "the images in its column.": _spoilt(columns=1),
            "The mask has to contain the diagonal, too: the matching pair is not a negative of "
            "itself.": _pair_as_negative,
            "That masks the negatives and keeps the pairs of one image.": _others_masked,
            "A masked exponent of 0 still counts, e^0 = 1. Minus infinity does not.": _spoilt(masked=0.0),
            "Both directions share the matching pair: the positive term counts once, not twice.": _spoilt(
                positives=2.0
            ),
            "The columns are missing: every caption is a query, too.": _one_direction,
            "The mean over the B pairs, not their sum.": _sum_of_pairs,
            "Divide by B, the number of pairs, not by the 2 B queries.": _mean_of_queries,
        },
        praise="A test needs a case in which the fault would show: here an S that is not symmetric, and an image that "
        "comes twice.",
    ),
    Exercise(
        name="leaky_positive",
        right=leaky_positive,
        cases=[(BELOW,), (torch.tensor([-0.9999, 0.9999]),)],
        probe=_both,
        mistakes={
            "That is the original form: below 0 relu is flat, so the gradient is 0, and a pair that starts "
            "there never learns.": _exact_pull,
            "-log(1 + s) without relu has a gradient below 0, but one that grows without bound towards s = -1; the "
            "leaky form is a straight line below 0.": _bare_logarithm,
            "The value is right; the gradient at exactly 0 is not, because relu has none there on either "
            "side: write the two sides with torch.where.": _two_relus,
            "The sign: a higher score of the matching pair must lower the loss, below 0 too.": _wrong_sign,
        },
        praise="The same as the paper's above 0, and a gradient of size 1 below it, so every pair can start.",
    ),
]
