"""The alarm's rule, row by row, and what is logged of strengths and keys."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.reference.small import make_batch, small
from userlib.config import TrainingConfig
from userlib.evaluation import ranks, recalls
from userlib.model.user import USER
from userlib.training import CollapseError, watching
from userlib.training.watching import check_collapse, key_age, scale_stats


def rows(*signs, first=20):
    """Rows of (unpaired cosine, effective rank) at steps first, first + 10, ..."""
    return [
        {"step": float(first + 10 * i), "unpaired_cosine": cosine, "effective_rank": rank}
        for i, (cosine, rank) in enumerate(signs)
    ]


GOOD, FLAT, NEAR = (0.2, 30.0), (0.2, 3.9), (0.91, 30.0)


@pytest.mark.parametrize("signs", [[FLAT] * 3, [NEAR] * 3, [GOOD, FLAT, NEAR, FLAT]])
def test_three_running_stop_the_run(signs):
    with pytest.raises(CollapseError, match="third evaluation in a row"):
        check_collapse(rows(*signs), 100, TrainingConfig(warmup=0.05), pictures=500)


@pytest.mark.parametrize(
    "signs", [[FLAT] * 2, [FLAT, FLAT, GOOD], [FLAT, GOOD, FLAT, FLAT], [(0.89, 4.1)] * 9, []]
)
def test_fewer_do_not(signs):
    check_collapse(rows(*signs), 100, TrainingConfig(warmup=0.05), pictures=500)


def test_a_rank_that_so_few_pictures_cannot_exceed_is_no_sign():
    training = TrainingConfig(warmup=0.05)
    check_collapse(rows(*[FLAT] * 5), 100, training, pictures=31)
    for pictures, sign in ((32, FLAT), (31, NEAR)):
        with pytest.raises(CollapseError):
            check_collapse(rows(*[sign] * 5), 100, training, pictures=pictures)


@pytest.mark.parametrize("warmup, first", [(0.05, 0), (0.4, 20)])
def test_early_ones_do_not_count(warmup, first):
    """Not during warm-up, and never in the first tenth of the run: a healthy run is alike early."""
    training = TrainingConfig(warmup=warmup)
    until = 2 + round(max(warmup, 0.1) * 100 - first) // 10 + 1
    check_collapse(rows(*[FLAT] * until, first=first), 100, training, pictures=500)
    with pytest.raises(CollapseError):
        check_collapse(rows(*[FLAT] * (until + 1), first=first), 100, training, pictures=500)


def test_strengths_and_the_residuals_share():
    config = small(enhancement="sge+cge", residual_scale=3.0)
    sample = make_batch(config, [0, 1, 2]).tokens
    result = scale_stats(USER(config), sample)
    size = float(sample.flatten(1).norm(dim=1).mean())
    assert result["scale_self"] == result["scale_clip"] == 3.0
    assert result["residual_clip"] == pytest.approx(3.0 / size)
    assert result["scale_self_is_clamped"] == 0.0


def test_regions_that_are_masked_do_not_count_beside_the_residual():
    config = small(enhancement="sge", residual_scale=3.0)
    batch = make_batch(config, [0, 1, 2], mask=True)
    assert not batch.token_mask.all()
    noise = batch.tokens.masked_fill(~batch.token_mask.unsqueeze(-1), 1e3)
    result = scale_stats(USER(config), noise, mask=batch.token_mask)
    sizes = [rows[there].norm() for rows, there in zip(noise, batch.token_mask, strict=True)]
    assert result["residual_self"] == pytest.approx(3.0 / float(torch.stack(sizes).mean()), rel=1e-5)


def test_strength_on_words_is_told_too():
    config = small(text_enhancement="sge", residual_scale=3.0, text_dropout=0.5)
    model, batch = USER(config), make_batch(config, [0, 1, 2])
    result = scale_stats(model, batch.tokens, (batch.input_ids, batch.attention_mask))
    assert model.training and set(result) == {"scale_words", "residual_words", "scale_words_is_clamped"}
    assert result["scale_words"] == 3.0 and result["scale_words_is_clamped"] == 0.0
    V = model.eval().text_encoder.vectors_of(batch.input_ids, batch.attention_mask)
    sizes = [rows[there].norm() for rows, there in zip(V, batch.attention_mask, strict=True)]
    assert result["residual_words"] == pytest.approx(
        3.0 / float(torch.stack(sizes).mean().detach()), rel=1e-5
    )


def test_the_age_of_keys():
    config = small(queue_size=4)
    model = USER(config)
    assert key_age(model) != key_age(model)  # nan: no key yet
    for step in range(3):
        model(make_batch(config, [0, 1], seed=step))
    assert key_age(model) == pytest.approx((0 + 0 + 1 + 1) / 4)
    assert torch.isnan(torch.tensor(key_age(USER(small(queue_size=None)))))


def signs(**changes):
    """Rows of a healthy run with some signs changed."""
    healthy = {
        "unpaired_cosine": 0.01,
        "effective_rank": 60.0,
        "text_effective_rank": 60.0,
        "image_cosine": 0.1,
    }
    healthy |= {"text_cosine": 0.1, "loss": -0.3, "grad_norm": 0.5, "rsum": 250.0}
    return [{"step": float(step), **healthy, **changes} for step in (20, 30, 40)]


@pytest.mark.parametrize("changes", [
    {"loss": 0.0, "grad_norm": 0.0},
    {"loss": 3e-9, "grad_norm": 2e-9},
    {"unpaired_cosine": -0.97},
    {"text_effective_rank": 1.0},
    {"text_cosine": 0.97, "rsum": 7.0},
    {"image_cosine": 0.97, "rsum": 7.0},
])  # fmt: skip
def test_each_sign_alone_stops_the_run(changes):
    training = TrainingConfig(warmup=0.05)
    with pytest.raises(CollapseError, match="third evaluation in a row.*objective.leaky_positive true"):
        check_collapse(signs(**changes), 100, training, pictures=500)
    check_collapse(signs(), 100, training, pictures=500)
    one_healthy = signs(**changes)[:2] + signs()[2:]
    check_collapse(one_healthy, 100, training, pictures=500)


@pytest.mark.parametrize("changes, objective", [
    ({"loss": 0.0, "grad_norm": 0.0}, "hinge-hardest"),  # every margin is met
    ({"text_cosine": 0.97, "rsum": 60.0}, "uto"),  # a narrow cone in which much is found already
    ({"unpaired_cosine": -0.89}, "uto"),
    ({"text_effective_rank": 4.1}, "uto"),
    ({"grad_norm": 1e-5}, "uto"),
])  # fmt: skip
def test_healthy_signs_do_not(changes, objective):
    check_collapse(signs(**changes), 100, TrainingConfig(warmup=0.05), pictures=500, objective=objective)


class Given:
    """What `embed` gives: images (N, E) and five captions of each, unit length."""

    def __init__(self, images, texts):
        self.both = [x / x.norm(dim=1, keepdim=True) for x in (images, texts)]
        self.caption_to_image = np.repeat(np.arange(len(images)), 5)


def looked_at(images, texts, monkeypatch):
    given = Given(images, texts)
    monkeypatch.setattr(watching, "embed", lambda *_, **__: tuple(x.numpy() for x in given.both))
    return watching.evaluate_now(SimpleNamespace(scorer=None), given, "cpu"), given


def test_an_evaluation_looks_at_both_sides(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    spread = lambda count: torch.randn(count, 16, generator=draw)
    point = torch.ones(1, 16)
    healthy, given = looked_at(spread(600), spread(3000), monkeypatch)
    images, texts = given.both[0][:512], given.both[1][::5][:512]  # first images, first captions
    scores = images @ texts.T
    assert healthy["unpaired_cosine"] == pytest.approx(
        float((scores.sum() - scores.trace()) / (512 * 511)), abs=1e-6
    )
    own = texts @ texts.T
    assert healthy["text_cosine"] == pytest.approx(float((own.sum() - 512) / (512 * 511)), abs=1e-5)
    own = images @ images.T
    assert healthy["image_cosine"] == pytest.approx(float((own.sum() - 512) / (512 * 511)), abs=1e-5)
    for name, side in (("effective_rank", images), ("text_effective_rank", texts)):
        values = np.linalg.svd((side - side.mean(0)).double().numpy(), compute_uv=False)
        share = values / values.sum()
        assert healthy[name] == pytest.approx(float(np.exp(-(share * np.log(share)).sum())), rel=1e-4)
    line = spread(100)[:, :1] * spread(1) + 1e-3 * spread(100)  # no cosine tells it: both ways along one line
    for flat in ("images", "texts"):
        both = {"images": spread(100), "texts": spread(500)}
        both[flat] = line if flat == "images" else line.repeat_interleave(5, 0)
        row = looked_at(**both, monkeypatch=monkeypatch)[0]
        ranks_of = {"images": row["effective_rank"], "texts": row["text_effective_rank"]}
        assert ranks_of.pop(flat) < 2 and min(ranks_of.values()) > 14
        assert max(abs(row[name]) for name in ("image_cosine", "text_cosine", "unpaired_cosine")) < 0.5
    for noise in (0.0, 1e-7, 1e-3, 0.01):
        for side in ("images", "texts"):
            both = {"images": spread(100), "texts": spread(500)}
            both[side] = point + noise * torch.randn(len(both[side]), 16, generator=draw)
            row = looked_at(**both, monkeypatch=monkeypatch)[0] | {
                "step": 50.0,
                "loss": 0.1,
                "grad_norm": 1.0,
            }
            assert abs(row["unpaired_cosine"]) < 0.2
            with pytest.raises(CollapseError):
                check_collapse([row] * 3, 100, TrainingConfig(), pictures=100)
    opposite = looked_at(point + 0.1 * spread(100), -point + 0.1 * spread(500), monkeypatch)[0]
    with pytest.raises(CollapseError):
        check_collapse([opposite | {"step": 50.0}] * 3, 100, TrainingConfig(), pictures=100)
    check_collapse([healthy | {"step": 50.0}] * 3, 100, TrainingConfig(), pictures=600)


def test_a_model_with_a_scorer_is_judged_by_its_scorer(monkeypatch):
    """And what its embeddings reach by themselves is told with it."""
    draw = torch.Generator().manual_seed(0)
    given = Given(torch.randn(40, 16, generator=draw), torch.randn(200, 16, generator=draw))
    images, texts = (x.numpy() for x in given.both)
    perfect = torch.from_numpy(np.arange(40)[:, None] == given.caption_to_image).float()
    monkeypatch.setattr(watching, "embed", lambda *_, **__: (images, texts))
    monkeypatch.setattr(watching, "cross_scores", lambda *_: perfect)
    row = watching.evaluate_now(SimpleNamespace(scorer=object()), given, "cpu")
    assert row["rsum"] == 600 and row["r1"] == 100
    assert row["embedding_rsum"] == recalls(ranks(images, texts, given.caption_to_image)).rsum < 300
