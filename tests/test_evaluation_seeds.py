import numpy as np
import pytest

from userlab.ablation.coverage import coverage
from userlib.errors import UserError
from userlib.evaluation import Ranks, recalls
from userlib.evaluation.seeds import holm, of_seeds_and_images, seed_difference


def runs(seeds, *, better=0, images=60, start=0):
    """Ranks of models over images with one to four captions each."""
    rng = np.random.default_rng(start)
    owner = np.repeat(np.arange(images), 1 + np.arange(images) % 4)
    return {
        s: Ranks(
            i2t=rng.integers(1, 14 - better, images),
            t2i=rng.integers(1, 14 - better, len(owner)),
            caption_to_image=owner,
        )
        for s in range(seeds)
    }


def test_values_are_the_differences_of_the_metrics():
    a, b = runs(3, better=4), runs(3, start=1)
    chosen = np.arange(0, 60, 3)
    for images in (None, chosen):
        found = seed_difference(a, b, images=images)
        for name, one in found.items():
            each = [
                getattr(recalls(a[s], images=images), name) - getattr(recalls(b[s], images=images), name)
                for s in range(3)
            ]
            assert one.value == pytest.approx(np.mean(each))
            assert one.low < one.value < one.high


def test_where_seeds_alone_differ_the_interval_is_students():
    by_seed = np.array([1.0, 4.0, 2.0])
    found = of_seeds_and_images(np.repeat(by_seed[:, None], 50, axis=1))
    reach = 4.302652729911275 * by_seed.std(ddof=1) / np.sqrt(3)  # t of two degrees of freedom
    assert (found.low, found.high) == pytest.approx((by_seed.mean() - reach, by_seed.mean() + reach))


def test_where_images_alone_differ_the_interval_is_normal():
    by_image = np.random.default_rng(0).standard_normal(400)
    found = of_seeds_and_images(np.repeat(by_image[None], 3, axis=0))
    error, z = by_image.std(ddof=1) / 20, 1.959963984540054
    assert (found.low, found.high) == pytest.approx(
        (by_image.mean() - z * error, by_image.mean() + z * error)
    )
    assert found.error == pytest.approx(error)
    # of a normal estimate with that mean 80 % lie above z errors, which is where it counts as found
    assert found.smallest == pytest.approx((z + 0.8416212335729143) * error)


def test_the_variance_between_images_leaves_out_what_seeds_do_not_share():
    rng = np.random.default_rng(0)
    added = 1.0 + rng.standard_normal((4, 3000))  # no two seeds agree on any image
    found = of_seeds_and_images(added)
    of_seeds = added.mean(1).std(ddof=1) / 2
    assert of_seeds <= found.error < 1.2 * max(of_seeds, 1 / np.sqrt(12_000))


def test_p_is_the_level_at_which_the_interval_ends_at_zero():
    added = 0.3 + np.random.default_rng(1).standard_normal((3, 200))
    p = of_seeds_and_images(added).p
    at_zero = of_seeds_and_images(added, level=1 - p)
    assert 0.001 < p < 0.5
    assert at_zero.low == pytest.approx(0, abs=1e-6)


def test_the_same_runs_do_not_differ():
    a = runs(3)
    assert seed_difference(a, a)["rsum"][:6] == (0, 0, 0, 0, 1, 0)[:6]


def test_only_shared_seeds_count():
    a, b = runs(5, better=3), runs(3, start=7)
    assert seed_difference(a, b) == seed_difference({s: a[s] for s in range(3)}, b)


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_three_seeds_are_enough_for_an_interval_that_covers(spread):
    covered, width = coverage(3, spread, images=150, replicates=400)
    assert 0.92 < covered < 0.995  # a bootstrap over three seeds: about 0.8
    assert width > 4 * spread


@pytest.mark.parametrize(
    ("a", "b", "level", "words"),
    [
        (runs(3), runs(1), 0.95, "share 1 seeds"),
        (runs(3), runs(3, images=50), 0.95, "different images"),
        (runs(3), runs(3), 95, "level is 95; it must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_compared_is_an_error(a, b, level, words):
    with pytest.raises(UserError, match=words):
        seed_difference(a, b, level=level)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
