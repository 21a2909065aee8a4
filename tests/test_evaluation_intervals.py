"""Bootstrap intervals and paired differences, against a slow bootstrap that lists every drawn query."""


import numpy as np
import pytest

from userlib.errors import UserError
from userlib.evaluation import METRICS, Ranks, bootstrap, compare, means, paired, recalls


def some_ranks(pictures=60, seed=0, scale=4.0, uneven=True):
    """Ranks with a picture effect: the captions of a hard picture are all hard."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 7, pictures) if uneven else np.full(pictures, 5)
    image_of = np.random.default_rng(1).permutation(np.repeat(np.arange(pictures), counts))
    hard = rng.exponential(scale, pictures)
    t2i = 1 + rng.poisson(hard[image_of])
    return Ranks(i2t=1 + rng.poisson(hard), t2i=t2i, image_of=image_of)


def shifted(found, by):
    return Ranks(i2t=found.i2t + by, t2i=found.t2i + by, image_of=found.image_of)


def slow_sample(found, pictures, resamples, seed):
    """Every resample by listing its pictures and their captions, one by one."""
    draws = np.random.default_rng(seed).integers(len(pictures), size=(resamples, len(pictures)))
    for draw in draws:
        drawn = pictures[draw]
        t2i = np.concatenate([found.t2i[found.image_of == i] for i in drawn])
        image_of = np.concatenate([np.full((found.image_of == i).sum(), n) for n, i in enumerate(drawn)])
        yield recalls(Ranks(i2t=found.i2t[drawn], t2i=t2i, image_of=image_of)).as_dict()


@pytest.mark.parametrize("subset", [False, True])
def test_bootstrap_equals_a_slow_one(subset):
    found = some_ranks()
    chosen = np.arange(0, 60, 3) if subset else None
    quick = bootstrap(found, pictures=chosen, resamples=301, seed=5)
    slow = list(slow_sample(found, np.arange(60) if chosen is None else chosen, 301, 5))
    whole = recalls(found, pictures=chosen).as_dict()
    assert tuple(quick) == METRICS
    for name in METRICS:
        low, high = np.quantile([one[name] for one in slow], [0.025, 0.975])
        assert quick[name] == pytest.approx((whole[name], low, high), abs=1e-3), name


def test_bootstrap_width_is_the_standard_error_of_the_field():
    """At 1,000 pictures and R@1 of 50 %, the standard error of i2t R@1 is 100 sqrt(.25 / 1000) = 1.58."""
    half = np.where(np.arange(1000) % 2, 1, 50)
    found = Ranks(i2t=half, t2i=np.repeat(half, 5), image_of=np.repeat(np.arange(1000), 5))
    interval = bootstrap(found)["i2t_r1"]
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(1.58, abs=0.08)
    captions = bootstrap(found)[
        "t2i_r1"
    ]  # captions follow their pictures: five agreeing captions count as one
    assert captions.high - captions.low == pytest.approx(interval.high - interval.low, rel=0.1)


def test_paired_differences_cancel_what_is_hard_for_both():
    found = some_ranks(300, uneven=False)
    same = paired(found, found)
    assert all(interval == (0, 0, 0) for interval in same.values())
    worse = paired(shifted(found, 1), found)
    assert worse["t2i_mean"] == pytest.approx((1, 1, 1))
    assert worse["rsum"].high < 0
    alone = bootstrap(found)["t2i_mean"]
    assert alone.high - alone.low > 0.5


def test_paired_uses_one_draw_for_both():
    a, b = some_ranks(seed=0, uneven=False), some_ranks(seed=3, uneven=False)
    found = paired(a, b, resamples=200, seed=2)
    draws = [list(slow_sample(one, np.arange(60), 200, 2)) for one in (a, b)]
    differences = [x["rsum"] - y["rsum"] for x, y in zip(*draws, strict=True)]
    assert found["rsum"].value == pytest.approx(recalls(a).rsum - recalls(b).rsum)
    assert found["rsum"][1:] == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])), abs=1e-3)


def test_seeds_widen_the_interval_by_what_they_vary():
    """Three runs whose ranks are 10, 11 and 12 throughout: only the seeds vary, by s / sqrt(3)."""
    flat = Ranks(i2t=np.full(50, 10), t2i=np.full(250, 10), image_of=np.repeat(np.arange(50), 5))
    runs = [shifted(flat, by) for by in (0, 1, 2)]
    found = bootstrap(runs, resamples=4000)["t2i_mean"]
    assert found.value == pytest.approx(11)
    deviation = np.std([0, 1, 2], ddof=1) / np.sqrt(3)  # .58
    assert found.high - 11 == pytest.approx(11 - found.low, abs=1e-6)
    assert 1.96 * deviation * 0.8 < found.high - 11 < 1.96 * deviation * 1.2
    against = paired(runs, [flat], resamples=4000)["t2i_mean"]
    assert against.value == pytest.approx(1)
    assert against.low < 0.1


def test_intervals_are_the_same_for_a_seed_and_differ_between_seeds():
    found = some_ranks()
    assert bootstrap(found, seed=1) == bootstrap(found, seed=1)
    assert bootstrap(found, seed=1) != bootstrap(found, seed=2)


def test_bad_comparisons_are_named():
    found = some_ranks()
    with pytest.raises(UserError, match="same split"):
        paired(found, some_ranks(59))
    with pytest.raises(UserError, match="empty"):
        bootstrap([])
    with pytest.raises(UserError, match="resamples=0"):
        bootstrap(found, resamples=0)
    with pytest.raises(UserError, match="level"):
        bootstrap(found, level=95)
    with pytest.raises(UserError, match="at least one"):
        bootstrap(found, pictures=np.zeros(60, bool))
    with pytest.raises(UserError, match="distinct"):
        recalls(found, pictures=[3, 3])


def test_compare_is_bootstrap_and_paired_on_one_draw():
    a, b = (some_ranks(seed=seed, uneven=False) for seed in (0, 3))
    chosen = np.arange(10, 50)
    values, differences = compare({"a": a, "b": [b]}, [("a", "b")], pictures=chosen, resamples=300, seed=4)
    alone = bootstrap(a, pictures=chosen, resamples=300, seed=4)
    apart = paired(a, b, pictures=chosen, resamples=300, seed=4)
    assert set(values["a"]) == set(METRICS) - {"i2t_median", "t2i_median"}
    for name in values["a"]:
        assert values["a"][name] == pytest.approx(alone[name]), name
        assert differences["a", "b"][name] == pytest.approx(apart[name]), name


def test_compare_draws_seeds_too():
    runs = [shifted(some_ranks(200, seed=7), by) for by in (0, 4, 8)]
    values, differences = compare({"many": runs, "one": runs[1]}, [("many", "one")])
    width = {name: values[name]["t2i_mean"].high - values[name]["t2i_mean"].low for name in values}
    assert width["many"] > 1.5 * width["one"]
    assert differences["many", "one"]["t2i_mean"].value == pytest.approx(0)
    assert differences["many", "one"]["t2i_mean"].low < -2


def test_means_of_a_number_a_picture():
    rng = np.random.default_rng(0)
    plain, better = rng.random(80), 0.1 + rng.random(80)
    values, differences = means({"a": [better], "b": [plain]}, [("a", "b")], resamples=400, seed=1)
    draws = np.random.default_rng(1).integers(80, size=(400, 80))
    slow = np.quantile([(better - plain)[draw].mean() for draw in draws], [0.025, 0.975])
    assert values["a"].value == pytest.approx(better.mean())
    assert differences["a", "b"].value == pytest.approx((better - plain).mean())
    assert differences["a", "b"][1:] == pytest.approx(tuple(slow), abs=1e-5)
    seeds = means({"a": [plain, plain + 1, plain - 1]})[0]["a"]
    assert seeds.value == pytest.approx(plain.mean())
    assert seeds.high - seeds.low > 1
    for bad in ([plain, plain[:3]], [plain[None]]):
        with pytest.raises(UserError, match="one number a picture"):
            means({"a": bad})
