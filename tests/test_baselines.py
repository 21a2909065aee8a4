"""The CCA baseline: against the plain eigenproblem, on a world it can solve, and on real photos."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

from userlib.baselines import cca, fit_cca, mean_tokens, variance
from userlib.data.tokens import Features
from userlib.errors import UserError
from userlib.evaluation import ranks, recalls

WORDS = ["dog", "cat", "bird", "fish", "cow", "sheep", "goat", "lion", "bear", "wolf", "fox", "duck", "frog"]


def world(pictures, seed, captions=3, noise=0.3):
    """Each image shows three of thirteen things; a token mean holds them noisily, a caption names two of
    them."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((len(WORDS), 24)).astype(np.float32)
    shown = np.stack([rng.permutation(len(WORDS))[:3] for _ in range(pictures)])
    tokens = mixing[shown].sum(1) + noise * rng.standard_normal((pictures, 24)).astype(np.float32)
    caption_to_image = np.repeat(np.arange(pictures), captions)
    said = [" and ".join(WORDS[k] for k in rng.permutation(shown[i])[:2]) for i in caption_to_image]
    return tokens.astype(np.float32), said, caption_to_image


def test_fit_equals_the_generalised_eigenproblem():
    """max w_x' C_xy w_y under both variances 1, as one dense problem over repeated images."""
    rng = np.random.default_rng(0)
    caption_to_image = rng.permutation(np.repeat(np.arange(40), rng.integers(1, 5, 40)))
    pictures = rng.standard_normal((40, 5)).astype(np.float32)
    texts = scipy.sparse.random(len(caption_to_image), 8, 0.5, "csr", np.float32, random_state=1)
    result = fit_cca(pictures, texts, caption_to_image, ridge=0.1)
    x, y = pictures[caption_to_image].astype(float), texts.toarray().astype(float)
    x, y = x - x.mean(0), y - y.mean(0)
    xx, yy, xy = x.T @ x / len(x), y.T @ y / len(x), x.T @ y / len(x)
    xx += 0.1 * np.trace(xx) / 5 * np.eye(5)
    yy += 0.1 * np.trace(yy) / 8 * np.eye(8)
    left = np.block([[np.zeros((5, 5)), xy], [xy.T, np.zeros((8, 8))]])
    values, vectors = scipy.linalg.eigh(left, scipy.linalg.block_diag(xx, yy))
    assert result.correlations == pytest.approx(values[::-1][:5], abs=1e-4)
    for k in range(3):
        wx, wy = vectors[:5, -1 - k] * 2**0.5, vectors[5:, -1 - k] * 2**0.5
        sign = np.sign(wx @ result.pictures[:, k])
        assert sign * result.pictures[:, k] == pytest.approx(wx, abs=1e-3)
        assert sign * result.texts[:, k] == pytest.approx(wy, abs=1e-3)


def test_mean_tokens_leave_out_what_is_masked():
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((600, 4, 3)).astype(np.float16)
    mask = rng.random((600, 4)) < 0.7
    mask[:, 0] = True
    assert mean_tokens(Features(tokens=tokens)) == pytest.approx(tokens.astype(np.float32).mean(1), abs=1e-6)
    squares = mean_tokens(Features(tokens=tokens), np.square)
    assert squares == pytest.approx(np.square(tokens.astype(np.float32)).mean(1), abs=1e-6)
    wanted = np.stack(
        [picture[there].astype(np.float32).mean(0) for picture, there in zip(tokens, mask, strict=True)]
    )
    assert mean_tokens(Features(tokens=tokens, mask=mask)) == pytest.approx(wanted, abs=1e-6)
    tokens[599, 3, 2] = np.nan
    with pytest.raises(UserError, match="NaN"):
        mean_tokens(Features(tokens=tokens))


def test_cca_retrieves_on_new_pictures_and_is_the_same_twice():
    train, select, test = world(300, 0), world(60, 1), world(60, 2)
    result = cca(train, select, test, ridges=(0.01, 1.0), dimensions=(4, 12))
    assert recalls(result.ranks).rsum > 400  # chance is 52
    assert result.facts == {"ridge": result.ridge, "dimension": 12, "select_rsum": result.select_rsum}
    again = cca(train, select, test, ridges=(0.01, 1.0), dimensions=(4, 12))
    assert np.array_equal(result.ranks.t2i, again.ranks.t2i)
    for vectors, part, ranked in (
        (result.select_vectors, select, result.select_ranks),
        (result.vectors, test, result.ranks),
    ):
        assert np.array_equal(ranks(*vectors, part[2]).t2i, ranked.t2i)


def test_the_choice_is_made_on_select_alone():
    train, select, test = world(200, 0), world(50, 1), world(50, 2)
    result = cca(train, select, test, ridges=(0.1,), dimensions=(2, 8))
    other = cca(train, select, world(50, 3), ridges=(0.1,), dimensions=(2, 8))
    assert (result.dimension, result.select_rsum) == (other.dimension, other.select_rsum)
    assert result.select_rsum != recalls(result.ranks).rsum


def test_captions_without_a_common_word_are_named():
    tokens, _, caption_to_image = world(3, 0, captions=1)
    part = (tokens, ["one", "two", "three"], caption_to_image)
    with pytest.raises(UserError, match="no word occurs in three"):
        cca(part, part, part)
    with pytest.raises(UserError, match="has no captions"):
        cca((tokens, [], caption_to_image), part, part)


@pytest.mark.parametrize(
    "pictures, texts, what",
    [
        (1.0, 0.0, "captions"),
        (1.0, 2.0, "captions"),
        (1.0, [[0.2, 0.1, 0.7]], "captions"),
        (None, 3.0, "images"),
        (None, 0.0, "images"),
    ],
)
def test_what_does_not_vary_correlates_with_nothing(pictures, texts, what):
    from scipy import sparse

    rng = np.random.default_rng(0)
    seen = rng.standard_normal((20, 8)) if pictures else np.full((20, 8), 0.3)
    said = np.broadcast_to(np.asarray(texts), (60, 3))
    rows = np.repeat(np.arange(20), 3)
    with pytest.raises(UserError, match=f"needs {what} that differ"):
        fit_cca(seen.astype(np.float32), sparse.csr_matrix(said.astype(np.float32)), rows, ridge=2.0)


def test_pictures_whose_tokens_lie_far_off_still_vary():
    from scipy import sparse

    rng = np.random.default_rng(0)
    seen, said = rng.standard_normal((20, 8)) + 100, rng.random((60, 5))
    rows = np.repeat(np.arange(20), 3)
    texts = sparse.csr_matrix(said.astype(np.float32))
    assert fit_cca(seen.astype(np.float32), texts, rows, ridge=2.0).correlations[0] > 0


def test_sentence_vectors_stand_for_words_or_next_to_them():
    """Vectors that say more than the words do better alone, and next to the words no worse than these."""
    parts = [world(200, 0), world(60, 1), world(60, 2)]
    exact = [tokens[places] for tokens, _, places in parts]  # what the caption's image holds
    settings = {"ridges": (0.01, 1.0), "dimensions": (4, 12)}
    words = cca(*parts, **settings)
    alone = cca(*parts, words=False, sentences=exact, **settings)
    both = cca(*parts, sentences=exact, shares=(0.5, 2.0), **settings)
    assert recalls(alone.ranks).rsum > recalls(words.ranks).rsum + 50
    assert recalls(both.ranks).rsum > recalls(words.ranks).rsum + 50
    assert words.share is None and alone.share is None and both.share in (0.5, 2.0)
    assert both.facts["share"] == both.share and "share" not in words.facts
    assert recalls(both.select_ranks).rsum == both.select_rsum
    with pytest.raises(UserError, match="needs one of them or both"):
        cca(*parts, words=False)


def test_variance_is_that_of_numpy_sparse_or_not():
    rows = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32) + 3
    expected = rows.var(0).sum()
    assert variance(rows) == pytest.approx(expected, rel=1e-4)
    assert variance(scipy.sparse.csr_matrix(rows)) == pytest.approx(expected, rel=1e-4)
