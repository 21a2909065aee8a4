"""Bootstrap intervals and paired differences, against a slow bootstrap that lists every drawn query."""

import numpy as np
import pytest

from userlib.errors import UserError
from userlib.evaluation import METRICS, Ranks, bootstrap, compare, means, paired_bootstrap, recalls, table
from userlib.evaluation.intervals import Difference, Interval


def some_ranks(pictures=60, seed=0, scale=4.0, uneven=True):
    """Ranks with a picture effect: the captions of a hard picture are all hard."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 7, pictures) if uneven else np.full(pictures, 5)
    caption_to_image = np.random.default_rng(1).permutation(np.repeat(np.arange(pictures), counts))
    hard = rng.exponential(scale, pictures)
    t2i = 1 + rng.poisson(hard[caption_to_image])
    return Ranks(i2t=1 + rng.poisson(hard), t2i=t2i, caption_to_image=caption_to_image)


def shifted(result, by):
    return Ranks(i2t=result.i2t + by, t2i=result.t2i + by, caption_to_image=result.caption_to_image)


def slow_sample(result, pictures, resamples, seed):
    """Every resample by listing its pictures and their captions, one by one."""
    draws = np.random.default_rng(seed).integers(len(pictures), size=(resamples, len(pictures)))
    for draw in draws:
        drawn = pictures[draw]
        t2i = np.concatenate([result.t2i[result.caption_to_image == i] for i in drawn])
        caption_to_image = np.concatenate(
            [np.full((result.caption_to_image == i).sum(), n) for n, i in enumerate(drawn)]
        )
        yield recalls(Ranks(i2t=result.i2t[drawn], t2i=t2i, caption_to_image=caption_to_image)).as_dict()


@pytest.mark.parametrize("subset", [False, True])
def test_bootstrap_equals_a_slow_one(subset):
    ranked = some_ranks()
    chosen = np.arange(0, 60, 3) if subset else None
    quick = bootstrap(ranked, images=chosen, resamples=301, seed=5)
    slow = list(slow_sample(ranked, np.arange(60) if chosen is None else chosen, 301, 5))
    whole = recalls(ranked, images=chosen).as_dict()
    assert tuple(quick) == METRICS
    for name in METRICS:
        low, high = np.quantile([one[name] for one in slow], [0.025, 0.975])
        assert quick[name] == pytest.approx((whole[name], low, high), abs=1e-3), name


def test_bootstrap_width_is_the_standard_error_of_the_field():
    """At 1,000 pictures and R@1 of 50 %, the standard error of i2t R@1 is 100 sqrt(.25 / 1000) = 1.58."""
    half = np.where(np.arange(1000) % 2, 1, 50)
    ranked = Ranks(i2t=half, t2i=np.repeat(half, 5), caption_to_image=np.repeat(np.arange(1000), 5))
    interval = bootstrap(ranked)["i2t_r1"]
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(1.58, abs=0.08)
    captions = bootstrap(ranked)[
        "t2i_r1"
    ]  # captions follow their pictures: five agreeing captions count as one
    assert captions.high - captions.low == pytest.approx(interval.high - interval.low, rel=0.1)


def test_paired_differences_cancel_what_is_hard_for_both():
    ranked = some_ranks(300, uneven=False)
    same = paired_bootstrap(ranked, ranked)
    assert all(interval == (0, 0, 0) for interval in same.values())
    worse = paired_bootstrap(shifted(ranked, 1), ranked)
    assert worse["t2i_mean"] == pytest.approx((1, 1, 1))
    assert worse["rsum"].high < 0
    alone = bootstrap(ranked)["t2i_mean"]
    assert alone.high - alone.low > 0.5


def test_paired_uses_one_draw_for_both():
    a, b = some_ranks(seed=0, uneven=False), some_ranks(seed=3, uneven=False)
    difference = paired_bootstrap(a, b, resamples=200, seed=2)
    draws = [list(slow_sample(one, np.arange(60), 200, 2)) for one in (a, b)]
    differences = [x["rsum"] - y["rsum"] for x, y in zip(*draws, strict=True)]
    assert difference["rsum"].value == pytest.approx(recalls(a).rsum - recalls(b).rsum)
    assert difference["rsum"][1:] == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])), abs=1e-3)


def test_seeds_widen_the_interval_by_what_they_vary():
    """Three runs whose ranks are 10, 11 and 12 throughout: only the seeds vary, by s / sqrt(3)."""
    flat = Ranks(i2t=np.full(50, 10), t2i=np.full(250, 10), caption_to_image=np.repeat(np.arange(50), 5))
    runs = [shifted(flat, by) for by in (0, 1, 2)]
    intervals = bootstrap(runs, resamples=4000)["t2i_mean"]
    assert intervals.value == pytest.approx(11)
    deviation = np.std([0, 1, 2], ddof=1) / np.sqrt(3)  # .58
    assert intervals.high - 11 == pytest.approx(11 - intervals.low, abs=1e-6)
    assert 1.96 * deviation * 0.8 < intervals.high - 11 < 1.96 * deviation * 1.2
    against = paired_bootstrap(runs, [flat], resamples=4000)["t2i_mean"]
    assert against.value == pytest.approx(1)
    assert against.low < 0.1


def test_the_value_of_several_seeds_is_their_mean():
    """Not their median, nor that of the first; no run lies in the middle of these."""
    flat = Ranks(i2t=np.full(9, 10), t2i=np.full(9, 10), caption_to_image=np.arange(9))
    runs = [shifted(flat, by) for by in (0, 1, 5)]
    values, apart = compare({"a": runs, "b": flat}, [("a", "b")], resamples=20)
    mean, difference = means({"a": [run.i2t for run in runs], "b": [flat.i2t]}, [("a", "b")], resamples=20)
    for one in (bootstrap(runs, resamples=20)["i2t_mean"], values["a"]["i2t_mean"], mean["a"]):
        assert one.value == pytest.approx(12)
    paired = paired_bootstrap(runs, flat, resamples=20)["i2t_mean"]
    for one in (paired, apart["a", "b"]["i2t_mean"], difference["a", "b"]):
        assert one.value == pytest.approx(2)


def test_intervals_are_the_same_for_a_seed_and_differ_between_seeds():
    ranked = some_ranks()
    assert bootstrap(ranked, seed=1) == bootstrap(ranked, seed=1)
    assert bootstrap(ranked, seed=1) != bootstrap(ranked, seed=2)


def test_bad_comparisons_are_named():
    ranked = some_ranks()
    with pytest.raises(UserError, match="same split"):
        paired_bootstrap(ranked, some_ranks(59))
    with pytest.raises(UserError, match="empty"):
        bootstrap([])
    for study, ones in ((compare, ranked), (means, [np.ones(3)])):
        with pytest.raises(UserError, match="runs is empty. Give the runs of at least one"):
            study({}, [])
        with pytest.raises(
            UserError, match="a difference names 'b', which is not among the models: a. Give its runs"
        ):
            study({"a": ones}, [("a", "b")])
    with pytest.raises(UserError, match="resamples is 0"):
        bootstrap(ranked, resamples=0)
    with pytest.raises(UserError, match="level"):
        bootstrap(ranked, level=95)
    with pytest.raises(UserError, match="at least one"):
        bootstrap(ranked, images=np.zeros(60, bool))
    with pytest.raises(UserError, match="distinct"):
        recalls(ranked, images=[3, 3])


def test_compare_is_bootstrap_and_paired_on_one_draw():
    a, b = (some_ranks(seed=seed, uneven=False) for seed in (0, 3))
    chosen = np.arange(10, 50)
    values, differences = compare({"a": a, "b": [b]}, [("a", "b")], images=chosen, resamples=300, seed=4)
    alone = bootstrap(a, images=chosen, resamples=300, seed=4)
    apart = paired_bootstrap(a, b, images=chosen, resamples=300, seed=4)
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
        with pytest.raises(UserError, match="give .N,. of the same N images"):
            means({"a": bad})


def exact(hits_i2t, each=5, hits_t2i=None):
    """Ranks of 1 for a hit and 99 for a miss; captions as their pictures unless given."""
    hits_i2t = np.asarray(hits_i2t, bool)
    t2i = np.repeat(hits_i2t, each) if hits_t2i is None else np.asarray(hits_t2i, bool)
    rank = lambda hits: np.where(hits, 1, 99)
    return Ranks(
        i2t=rank(hits_i2t), t2i=rank(t2i), caption_to_image=np.repeat(np.arange(len(hits_i2t)), each)
    )


RECALLS = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]


@pytest.mark.parametrize(  # Wilson's interval by its own formula, as tables of it have it
    "hits, n, low, high",
    [
        (0, 8, 0.0, 32.44),
        (8, 8, 67.56, 100.0),
        (0, 1, 0.0, 79.35),
        (1, 1, 20.65, 100.0),
        (0, 1000, 0.0, 0.38),
    ],
)
def test_none_and_all_of_few_pictures_are_no_certainty(hits, n, low, high):
    intervals = bootstrap(exact([True] * hits + [False] * (n - hits)), resamples=50)
    for name in RECALLS:
        assert intervals[name] == pytest.approx((100 * hits / n, low, high), abs=0.01), name
    assert intervals["rsum"] == pytest.approx((600 * hits / n, 6 * low, 6 * high), abs=0.05)
    assert intervals["r1"] == pytest.approx((100 * hits / n, low, high), abs=0.01)
    assert (
        intervals["i2t_mean"][1:] == (intervals["i2t_mean"].value,) * 2
    )  # a rank has no upper end to reach for


def test_one_picture_of_which_two_captions_of_five_hit():
    intervals = bootstrap(exact([True], hits_t2i=[1, 0, 0, 1, 0]), resamples=20)
    p, z2 = 0.4, 1.959964**2
    middle, half = (p + z2 / 2) / (1 + z2), np.sqrt(z2 * (p * (1 - p) + z2 / 4)) / (1 + z2)
    assert intervals["t2i_r1"] == pytest.approx((40, 100 * (middle - half), 100 * (middle + half)))


def test_the_level_counts_at_the_edge():
    wide, narrow = (bootstrap(exact([False] * 8), resamples=20, level=level) for level in (0.99, 0.8))
    assert wide["i2t_r1"].high == pytest.approx(45.34, abs=0.01)
    assert narrow["i2t_r1"].high == pytest.approx(17.04, abs=0.01)


def test_an_interval_that_is_not_at_an_edge_is_the_bootstrap_s():
    ranked = exact([True, False] * 20)
    draws = np.random.default_rng(0).integers(40, size=(2000, 40))
    ends = np.quantile(100 * (draws % 2 == 0).mean(1), [0.025, 0.975])
    assert bootstrap(ranked)["i2t_r1"][1:] == pytest.approx(tuple(ends))


@pytest.mark.parametrize("n", [1, 8, 200])
def test_models_that_agree_on_few_pictures_may_differ_on_others(n):
    """Agresti and Min: half a picture added to each of the four outcomes, so +- z / (n + 2) where none differs."""
    a, b = exact([True] * n), exact([True] * n)
    for result in (
        paired_bootstrap(a, b, resamples=20),
        compare({"a": a, "b": b}, [("a", "b")], resamples=20)[1]["a", "b"],
    ):
        for name in RECALLS:
            assert result[name] == pytest.approx((0, -195.9964 / (n + 2), 195.9964 / (n + 2)), abs=1e-3)
        assert result["rsum"].high == pytest.approx(6 * 195.9964 / (n + 2), abs=1e-2)
    for same in (
        paired_bootstrap(a, a, resamples=20),
        compare({"a": a}, [("a", "a")], resamples=20)[1]["a", "a"],
    ):
        assert all(interval == (0, 0, 0) for interval in same.values())  # a model and itself: no estimate


def test_a_model_and_itself_differ_by_nothing_with_several_seeds_too():
    """Whatever the seeds do, they do it to both sides; in another order they are still the same runs."""
    runs = [shifted(some_ranks(30, seed=7), by) for by in (0, 4, 8)]
    for again in (runs, runs[::-1]):
        for same in (
            paired_bootstrap(runs, again, resamples=20),
            compare({"a": runs, "b": again}, [("a", "b")], resamples=20)[1]["a", "b"],
        ):
            assert all(interval == (0, 0, 0) for interval in same.values())
    numbers = [np.random.default_rng(seed).random(30) for seed in range(3)]
    for one in (
        numbers,
        np.stack(numbers),
        np.stack(numbers).tolist(),
    ):  # the rows of an array are made when read
        same = means({"a": one, "b": one}, [("a", "b")], resamples=20)[1]["a", "b"]
        assert same == (0, 0, 0)
    with pytest.raises(UserError, match="a run holds NaN"):
        means({"a": [np.array([1.0, np.nan])]})


def test_models_that_differ_on_every_picture():
    difference = paired_bootstrap(exact([True] * 8), exact([False] * 8), resamples=20)["i2t_r1"]
    half = 1.959964 * np.sqrt(8 + 1 - 64 / 10) / 10
    assert difference == pytest.approx((100, 100 * (0.8 - half), 100))
    turned = paired_bootstrap(exact([False] * 8), exact([True] * 8), resamples=20)["i2t_r1"]
    assert turned == pytest.approx((-100, -100, -difference.low))


def test_a_sum_reaches_as_far_as_its_parts():
    """R@1 varies and all else is at 100: rSum's upper end stays, its lower one takes in what none of 40 can show."""
    hits = np.arange(40) % 4 > 0
    ranks = np.where(hits, 1, 2)
    intervals = bootstrap(Ranks(i2t=ranks, t2i=ranks, caption_to_image=np.arange(40)))
    alone = 2 * (intervals["i2t_r1"].value - intervals["i2t_r1"].low)
    edge = 4 * (100 - intervals["i2t_r5"].low)
    assert intervals["rsum"].value - intervals["rsum"].low == pytest.approx(np.hypot(alone, edge))
    assert intervals["rsum"].high == pytest.approx(min(2 * intervals["i2t_r1"].high + 400, 600))


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("hits", [[0], [1], [0, 0], [1, 0], [1, 1, 1], [0] * 7 + [1]])
def test_all_ends_are_finite_and_around_the_value(hits, seeds):
    runs = [exact(hits) for _ in range(seeds)]
    other = [exact([1 - hit for hit in hits])]
    values, apart = compare({"a": runs, "b": other}, [("a", "b")], resamples=100)
    for rows, least in (
        (values["a"], 0),
        (values["b"], 0),
        (apart["a", "b"], -600),
        (bootstrap(runs, resamples=100), 0),
    ):
        for name, one in rows.items():
            assert np.isfinite(one).all() and one.low <= one.value <= one.high, name
            assert one.low >= least
            if "mean" not in name and "median" not in name:
                assert one.high <= (600 if name == "rsum" else 100)


@pytest.mark.parametrize("n, p", [(8, 0.01), (8, 0.05), (8, 0.5), (8, 0.95), (30, 0.01), (30, 0.99)])
def test_the_truth_lies_within_about_as_often_as_said(n, p):
    """Exactly: of each number of hits its probability, and whether its interval holds p."""
    from math import comb

    held = 0.0
    for hits in range(n + 1):
        chance = comb(n, hits) * p**hits * (1 - p) ** (n - hits)
        if chance > 1e-6:
            one = bootstrap(exact([True] * hits + [False] * (n - hits), each=1), resamples=400)["i2t_r1"]
            held += chance * (one.low <= 100 * p <= one.high)
    assert held > 0.87


@pytest.mark.parametrize("shifts, reach", [((0, 1, 2), np.sqrt(3 / 2)), ((0, 2), np.sqrt(2))])
def test_few_seeds_are_set_right(shifts, reach):
    """Resampled means of n values vary by (n - 1) / n of what they should; the worst draw of all, n times the lowest
    run, is likelier than 2.5 %, so that the lower end is the lowest run, set off by sqrt(n / (n - 1)).
    """
    flat = Ranks(i2t=np.full(9, 10), t2i=np.full(9, 10), caption_to_image=np.arange(9))
    intervals = bootstrap([shifted(flat, by) for by in shifts], resamples=4000)["i2t_mean"]
    assert intervals.value == pytest.approx(11)
    assert (intervals.value - intervals.low, intervals.high - intervals.value) == pytest.approx(
        (reach, reach)
    )


def test_a_model_without_runs_is_named():
    with pytest.raises(UserError, match="'a' has no run"):
        means({"a": [], "b": [np.arange(3.0)]})
    with pytest.raises(UserError, match="runs is None; it must be a list"):
        means({"a": None})


def test_what_has_no_mean_is_named():
    assert means({"a": [[True, False]]})[0]["a"].value == 0.5
    for run, said in (
        (["1", "x"], "the numbers of 'a' are of type <U1; give real numbers"),
        ([[1], [1, 2]], "the numbers of 'a' are no matrix of numbers"),
        (np.ma.masked_array([1.0, 2.0], mask=[True, False]), "the numbers of 'a' have masked values"),
    ):
        with pytest.raises(UserError, match=said):
            means({"a": [run]})


def test_a_table_names_what_is_no_interval():
    for row in ({"rsum": 1.0}, {"rsum": (1.0, 0.5, 2.0)}):
        with pytest.raises(UserError, match="at m, rsum; it must be an Interval"):
            table({"m": row})


def test_a_difference_has_its_sign_everywhere():
    rows = {"a": {"rsum": Difference(-1.0, -2.5, 0.4)}, "b": {"rsum": Difference(0.0, 0.0, 0.0)}}
    words = table(rows, columns={"rsum": "rSum"}, markdown=True)
    assert "-1.0 [-2.5, +0.4]" in words and "+0.0 [+0.0, +0.0]" in words
    assert "1.0 [0.5, 2.0]" in table(
        {"a": {"rsum": Interval(1.0, 0.5, 2.0)}}, columns={"rsum": "x"}, markdown=True
    )
