"""The alarm's rule, row by row, and what is logged of strengths and keys."""

import pytest
import torch

from tests.reference.small import make_batch, small
from userlib.config import TrainingConfig
from userlib.model.user import USER
from userlib.training import CollapseError
from userlib.training.watching import alarm, key_age, strengths_now


def rows(*signs, first=20):
    """Rows of (unpaired cosine, effective rank) at steps first, first + 10, ..."""
    return [
        {"step": float(first + 10 * i), "unpaired_cosine": cosine, "effective_rank": rank}
        for i, (cosine, rank) in enumerate(signs)
    ]


GOOD, FLAT, NEAR = (0.2, 30.0), (0.2, 3.9), (0.91, 30.0)


@pytest.mark.parametrize("signs", [[FLAT] * 3, [NEAR] * 3, [GOOD, FLAT, NEAR, FLAT]])
def test_three_running_stop_the_run(signs):
    with pytest.raises(CollapseError, match="three evaluations running"):
        alarm(rows(*signs), 100, TrainingConfig(warmup=0.05), pictures=500)


@pytest.mark.parametrize(
    "signs", [[FLAT] * 2, [FLAT, FLAT, GOOD], [FLAT, GOOD, FLAT, FLAT], [(0.89, 4.1)] * 9, []]
)
def test_fewer_do_not(signs):
    alarm(rows(*signs), 100, TrainingConfig(warmup=0.05), pictures=500)


def test_a_rank_that_so_few_pictures_cannot_exceed_is_no_sign():
    training = TrainingConfig(warmup=0.05)
    alarm(rows(*[FLAT] * 5), 100, training, pictures=31)
    for pictures, sign in ((32, FLAT), (31, NEAR)):
        with pytest.raises(CollapseError):
            alarm(rows(*[sign] * 5), 100, training, pictures=pictures)


@pytest.mark.parametrize("warmup, first", [(0.05, 0), (0.4, 20)])
def test_early_ones_do_not_count(warmup, first):
    """Not during warm-up, and never in the first tenth of the run: a healthy run is alike early."""
    training = TrainingConfig(warmup=warmup)
    until = 2 + round(max(warmup, 0.1) * 100 - first) // 10 + 1
    alarm(rows(*[FLAT] * until, first=first), 100, training, pictures=500)
    with pytest.raises(CollapseError):
        alarm(rows(*[FLAT] * (until + 1), first=first), 100, training, pictures=500)


def test_strengths_and_the_residuals_share():
    config = small(enhancement="sge+cge", strength=3.0)
    sample = make_batch(config, [0, 1, 2]).tokens
    found = strengths_now(USER(config), sample)
    size = float(sample.flatten(1).norm(dim=1).mean())
    assert found["strength_self"] == found["strength_clip"] == 3.0
    assert found["residual_clip"] == pytest.approx(3.0 / size)
    assert found["strength_self_at_end"] == 0.0


def test_strength_on_words_is_told_too():
    config = small(text_enhancement="sge", strength=3.0, text_dropout=0.5)
    model, batch = USER(config), make_batch(config, [0, 1, 2])
    found = strengths_now(model, batch.tokens, (batch.words, batch.word_mask))
    assert model.training and set(found) == {"strength_words", "residual_words", "strength_words_at_end"}
    assert found["strength_words"] == 3.0 and found["strength_words_at_end"] == 0.0
    V = model.eval().text_encoder.vectors_of(batch.words, batch.word_mask)
    sizes = [rows[there].norm() for rows, there in zip(V, batch.word_mask, strict=True)]
    assert found["residual_words"] == pytest.approx(3.0 / float(torch.stack(sizes).mean().detach()), rel=1e-5)


def test_the_age_of_keys():
    config = small(queue_size=4)
    model = USER(config)
    assert key_age(model) != key_age(model)  # nan: no key yet
    for step in range(3):
        model(make_batch(config, [0, 1], seed=step))
    assert key_age(model) == pytest.approx((0 + 0 + 1 + 1) / 4)
    assert torch.isnan(torch.tensor(key_age(USER(small(queue_size=None)))))
