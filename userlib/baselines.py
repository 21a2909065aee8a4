"""A baseline for trained models: canonical correlation analysis (CCA) of words and mean-pooled tokens.

No network is trained. Captions become TF-IDF vectors, vectors of a pretrained sentence encoder, or both concatenated;
images become the mean of their tokens; regularised CCA finds the directions in which both correlate, each weighted by
its correlation; the cosine of the projections is the score. Ridge and dimension are chosen by rSum on a selection
split, and the report split is ranked once.

With x the centred images and y the centred captions over all pairs, and C their covariances plus ridge: S =
C_yy^-1 C_yx, and the eigenvectors of C_xx^-1/2 C_xy S C_xx^-1/2 give the image side W_x and the squared
correlations rho^2; the text side is W_y = S W_x / rho. Source: Hotelling, Biometrika 1936; weighting by correlations
after Gong et al., IJCV 2014.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from userlib.errors import UserError
from userlib.evaluation import Ranks, ranks, recalls

if TYPE_CHECKING:
    from userlib.data.tokens import Features

Array = NDArray[np.float32]
Part = tuple[Array, Sequence[str], NDArray[np.int64]]  # images (N, D), M captions, caption_to_image (M,)
READ = 256  # images at a time
RIDGES = (0.3, 1.0, 3.0, 10.0)  # relative to the mean variance of each side
DIMENSIONS = (64, 128, 256, 512)
SHARES = (0.7, 1.4)  # the standard deviation of sentence vectors, relative to that of TF-IDF
TERMS = 20_000  # words and pairs of words, the most frequent: their covariance takes at most 1.6 GB


@dataclass(frozen=True)
class Baseline:
    """Ranks on the report split, the values chosen on the selection split, and the vectors of both, (images, captions)
    of unit norm, whose dot products are the scores.
    """

    ranks: Ranks
    ridge: float
    dimension: int
    select_rsum: float
    select_ranks: Ranks
    select_vectors: tuple[Array, Array]
    vectors: tuple[Array, Array]
    share: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The chosen values for the results, as JSON."""
        facts = {"ridge": self.ridge, "dimension": self.dimension, "select_rsum": self.select_rsum}
        return facts if self.share is None else {**facts, "share": self.share}


@dataclass(frozen=True)
class Projection:
    """The projections of both sides into one space: W_x (D, d), W_y (V, d), correlations (d,), descending."""

    picture_mean: Array
    text_mean: Array
    pictures: Array
    texts: Array
    correlations: Array

    def project_pictures(self, pictures: Array, dimension: int) -> Array:
        """images (N, D) -> unit vectors (N, dimension)."""
        weights = self.pictures[:, :dimension] * self.correlations[:dimension]
        return _unit((pictures - self.picture_mean) @ weights)

    def project_texts(self, texts: Any, dimension: int) -> Array:
        """texts sparse (M, V) -> unit vectors (M, dimension)."""
        weights = self.texts[:, :dimension] * self.correlations[:dimension]
        return _unit(texts @ weights - self.text_mean @ weights)


def cca(
    train: Part,
    select: Part,
    test: Part,
    *,
    words: bool = True,
    sentences: Sequence[Array] | None = None,
    ridges: Sequence[float] = RIDGES,
    dimensions: Sequence[int] = DIMENSIONS,
    shares: Sequence[float] = SHARES,
) -> Baseline:
    """Fits on train, chooses ridge and dimension on select, and ranks test.

    words: use TF-IDF. sentences: vectors (M, H) of the captions of the three splits; with words, both are concatenated,
    with one of the shares, also chosen on select, as the relative standard deviation of the sentences. Raises UserError
    where there is nothing to read or to choose from, or where a CCA is impossible (`fit_cca`).
    """
    from scipy import sparse

    parts = (train, select, test)
    texts = _tfidf(parts) if words else None
    tries: list[tuple[float | None, list[Any]]]
    if sentences is None:
        if texts is None:
            raise UserError("words is False and sentences None; the baseline needs one of them or both.")
        tries = [(None, texts)]
    elif texts is None:
        tries = [(None, [sparse.csr_matrix(vectors) for vectors in sentences])]
    else:
        even = float(np.sqrt(variance(texts[0]) / variance(sentences[0])))
        tries = [
            (
                share,
                [
                    sparse.hstack([t, v * np.float32(even * share)]).tocsr()
                    for t, v in zip(texts, sentences, strict=True)
                ],
            )
            for share in shares
        ]
    best: tuple[Ranks, float, float, int, float | None, Projection, Any, tuple[Array, Array]] | None = None
    for share, (train_texts, select_texts, test_texts) in tries:
        for ridge in ridges:
            projection = fit_cca(train[0], train_texts, train[2], ridge=ridge)
            for dimension in dimensions:
                images = projection.project_pictures(select[0], dimension)
                captions = projection.project_texts(select_texts, dimension)
                select_ranks = ranks(images, captions, select[2])
                rsum = recalls(select_ranks).rsum
                if best is None or rsum > best[1]:
                    vectors = images, captions
                    best = select_ranks, rsum, ridge, dimension, share, projection, test_texts, vectors
    if best is None:
        raise UserError("ridges, dimensions or shares are empty; give at least one of each to try.")
    select_ranks, rsum, ridge, dimension, share, projection, test_texts, select_vectors = best
    images = projection.project_pictures(test[0], dimension)
    captions = projection.project_texts(test_texts, dimension)
    test_ranks = ranks(images, captions, test[2])
    return Baseline(
        test_ranks, ridge, dimension, rsum, select_ranks, select_vectors, (images, captions), share
    )


def _tfidf(parts: Sequence[Part]) -> list[Any]:
    """TF-IDF of words and pairs of words in each split's captions, sparse (M, V), fitted on the first split."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    captions = parts[0][1]
    if not captions:
        raise UserError(
            "the training split has no captions to fit the baseline on; name data that have some."
        )
    terms = TfidfVectorizer(
        sublinear_tf=True,
        min_df=3,
        ngram_range=(1, 2),
        max_features=TERMS,
        dtype=np.float32,
    )
    try:
        terms.fit(captions)
    except ValueError as error:  # no term is left
        raise UserError(
            f"no word occurs in three of the {len(captions)} training captions, as the baseline needs; give more "
            "captions."
        ) from error
    return [terms.transform(part[1]) for part in parts]


def variance(rows: Any) -> float:
    """The variance of rows (M, n), sparse or dense, summed over the columns."""
    mean = np.asarray(rows.mean(0)).ravel()
    squares = rows.power(2).sum() if hasattr(rows, "power") else np.square(rows).sum()
    return float(squares / rows.shape[0] - mean @ mean)


def mean_tokens(features: "Features", pointwise: Callable[[Array], Array] | None = None) -> Array:
    """The mean token of each image, (N, D) float32; pointwise: a function that is applied to the tokens first. Raises
    UserError for tokens that are not finite.
    """
    n, _, width = features.tokens.shape
    means = np.empty((n, width), np.float32)
    for start in range(0, n, READ):
        rows = np.arange(start, min(start + READ, n))
        tokens = np.asarray(features.tokens[rows], np.float32)  # (rows, R, D)
        tokens = tokens if pointwise is None else pointwise(tokens)
        if features.mask is None:
            means[rows] = tokens.mean(1)
        else:
            there = np.asarray(features.mask[rows], np.float32)
            means[rows] = np.einsum("nrd,nr->nd", tokens, there) / there.sum(1, keepdims=True)
    if not np.isfinite(means).all():
        raise UserError("the tokens have NaN or infinite values; make or download them again.")
    return means


def fit_cca(pictures: Array, texts: Any, caption_to_image: NDArray[np.int64], *, ridge: float) -> Projection:
    """images (N, D), texts sparse (M, V), caption_to_image (M,) -> Projection; ridge: relative to the mean variance of
    each side. Images are weighted by the number of their captions.

    Raises UserError where all captions have the same words or all images the same tokens: nothing correlates then.
    """
    from scipy import linalg, sparse

    m = np.float32(len(caption_to_image))
    # (N,) captions of each image
    count = np.bincount(caption_to_image, minlength=len(pictures)).astype(np.float32)
    picture_mean = (count @ pictures / m).astype(np.float32)
    text_mean = np.asarray(texts.mean(0), np.float32).ravel()
    x = (pictures - picture_mean).astype(np.float32)
    one = np.ones(len(caption_to_image), np.float32)
    pick = sparse.csr_matrix(
        (one, (caption_to_image, np.arange(len(caption_to_image)))), (len(pictures), len(caption_to_image))
    )
    xx = np.asarray((x * count[:, None]).T @ x / m, np.float32)  # (D, D)
    _check_varies(xx, picture_mean, "images", "tokens")
    _ridged(xx, ridge)
    yx = (pick @ texts).T @ x / m  # (V, D); x is centred, so the mean of y drops out
    yy = (texts.T @ texts).toarray(order="F")  # (V, V)
    yy /= m
    yy -= np.outer(text_mean, text_mean)
    _check_varies(yy, text_mean, "captions", "known words")
    factor = linalg.cho_factor(_ridged(yy, ridge), overwrite_a=True, check_finite=False)
    solved = linalg.cho_solve(factor, yx, check_finite=False)  # S (V, D)
    lower = linalg.cholesky(xx, lower=True).astype(np.float64)
    half = linalg.solve_triangular(lower, (yx.T @ solved).astype(np.float64), lower=True)
    whitened = linalg.solve_triangular(lower, half.T, lower=True)  # (D, D), symmetric
    squares, vectors = linalg.eigh((whitened + whitened.T) / 2)
    correlations = np.sqrt(np.clip(squares[::-1], 1e-12, 1)).astype(np.float32)
    ways = linalg.solve_triangular(lower, vectors[:, ::-1], lower=True, trans="T").astype(np.float32)
    return Projection(picture_mean, text_mean, ways, solved @ ways / correlations, correlations)


def _check_varies(covariance: Array, mean: Array, what: str, parts: str) -> None:
    """Raises UserError where the variance is within the rounding error of float32."""
    if not np.trace(covariance) > 1e-6 * float(mean @ mean):
        raise UserError(
            f"a canonical correlation needs {what} that differ, and all {what} to fit on have the same {parts}, or "
            f"none. Check that the correct {what} are read; init 'random' needs no correlation."
        )


def _ridged(covariance: Array, ridge: float) -> Array:
    """The covariance with `ridge` times its mean variance added to the diagonal, in place."""
    covariance[np.diag_indices_from(covariance)] += ridge * np.trace(covariance) / len(covariance)
    return covariance


def _unit(table: Array) -> Array:
    unit: Array = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return unit
