"""The vectorised cross-attention against the loop of the field, and against a hand-made case."""

import pytest
import torch
from torch.nn import functional as F

from userlab.bench.reference import i2t_loop, t2i_loop
from userlib.errors import UserError
from userlib.model.scorers import _sizes, scan_i2t, scan_t2i

BOTH = pytest.mark.parametrize(("quick", "slow"), [(scan_t2i, t2i_loop), (scan_i2t, i2t_loop)])


def vectors(pictures=9, regions=7, captions=40, longest=12, dimensions=32, seed=0):
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (captions,), generator=g)
    mask = torch.arange(longest) < lengths[:, None]
    seen = F.normalize(torch.randn(pictures, regions, dimensions, generator=g), dim=2)
    words = F.normalize(torch.randn(captions, longest, dimensions, generator=g), dim=2)
    return seen, words, mask, lengths


@BOTH
@pytest.mark.parametrize("pooling", ["logsumexp", "mean"])
@pytest.mark.parametrize("block", [1, 20, 768])
def test_equal_to_the_loop(quick, slow, pooling, block, monkeypatch):
    monkeypatch.setattr("userlib.model.scorers.VECTORS", block)
    regions, words, mask, lengths = vectors()
    wanted = slow(regions, words, lengths, pooling=pooling)
    result = quick(regions, words, mask, pooling=pooling)
    assert result.shape == (9, 40)
    assert (result - wanted).abs().max() < 1e-5


@BOTH
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_vectors_of_any_type_are_scored_in_float32(quick, slow, kind):
    regions, words, mask, lengths = vectors()
    result = quick(regions.to(kind), words.to(kind), mask)
    assert result.dtype == torch.float32
    unit = (F.normalize(x.to(kind).float(), dim=2) for x in (regions, words))
    assert (result - slow(*unit, lengths)).abs().max() < 1e-5


@BOTH
def test_settings_reach_the_scores(quick, slow):
    regions, words, mask, lengths = vectors(seed=1)
    result = quick(regions, words, mask, inverse_temperature=20.0, temperature=2.0)
    assert (
        result - slow(regions, words, lengths, inverse_temperature=20.0, temperature=2.0)
    ).abs().max() < 1e-5
    assert (result - quick(regions, words, mask)).abs().max() > 1e-2


@BOTH
def test_what_is_masked_does_not_count_and_lengths_do_not_matter(quick, slow):
    regions, words, mask, _ = vectors()
    plain = quick(regions, words, mask)
    noise = torch.where(mask[:, :, None], words, torch.full_like(words, 7.0))
    assert torch.allclose(quick(3 * regions, 2 * noise, mask), plain, atol=1e-5)
    more = torch.cat([regions, torch.randn(9, 3, 32)], 1)
    there = torch.arange(10).expand(9, -1) < 7
    assert torch.allclose(quick(more, words, mask, region_mask=there), plain, atol=1e-5)


def test_a_word_that_is_a_region_is_found():
    """A word equal to one of two orthogonal regions, attention sharp: it sees that region alone."""
    regions = torch.eye(3)[None, :2]
    words = torch.eye(3)[None, :1]
    score = scan_t2i(regions, words, torch.ones(1, 1), inverse_temperature=40.0, pooling="mean")
    assert score.item() == pytest.approx(1.0, abs=1e-4)
    blurred = scan_t2i(regions, words, torch.ones(1, 1), inverse_temperature=0.0, pooling="mean")
    assert blurred.item() == pytest.approx(0.5**0.5, abs=1e-5)


def test_a_sharpness_that_would_overflow_is_named():
    regions, words, mask, _ = vectors()
    with pytest.raises(UserError, match="inverse_temperature"):
        scan_t2i(regions, words, mask, inverse_temperature=60.0)


@pytest.mark.parametrize(
    ("change", "words_of_error"),
    [
        (lambda r, w, m: (r[:, :, :5], w, m), "the same E"),
        (lambda r, w, m: (r[:, :0], w, m), "the regions have the shape .*give at least one region"),
        (lambda r, w, m: (r, w[:, :0], m[:, :0]), "the words have the shape .*give at least one word"),
        (lambda r, w, m: (r, w, m[:, :-1]), "word_mask has the shape"),
        (lambda r, w, m: (r, w, m & (torch.arange(40) != 3)[:, None]), "row 3"),
    ],
)
def test_bad_input_is_named(change, words_of_error):
    with pytest.raises(UserError, match=words_of_error):
        scan_t2i(*change(*vectors()[:3]))


@pytest.mark.parametrize(
    "lengths, sizes",
    [([3], [1]), ([600, 700], [1, 1]), ([1] * 513, [512, 1]), ([6] * 80 + [20] * 30, [80, 25, 5])],
)
def test_a_block_holds_as_many_rows_as_their_true_lengths_allow(lengths, sizes):
    assert _sizes(lengths) == sizes
