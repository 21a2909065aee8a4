"""Ranks, metrics, folds and embeddings, against plain loops; and a test for each evaluation trap of the
field."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.ranking import loop_ranks, reference_ranks
from tests.reference.small import small
from userlib.errors import UserError
from userlib.evaluation import (
    Ranks,
    embed,
    evaluate,
    fold_average,
    ranks,
    ranks_from_scores,
    recall_at_k,
    recalls,
    recalls_by_group,
    subset,
)


def unit(rng, *shape):
    table = rng.standard_normal(shape).astype(np.float32)
    return table / np.linalg.norm(table, axis=-1, keepdims=True)


HOSTILE = st.builds(
    lambda shape, kind, fill: np.full(shape, fill).astype(kind),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(["f4", "f8", "f2", "i8", "u1", "O", "U3"]),
    st.sampled_from([0, 1, 3]),
)


def pairs(pictures, captions=5, dimensions=16, noise=1.0, seed=0):
    """A middling retriever: captions are noisy copies of their pictures."""
    rng = np.random.default_rng(seed)
    images = unit(rng, pictures, dimensions)
    caption_to_image = np.repeat(np.arange(pictures), captions)
    noisy = images[caption_to_image] + noise * unit(rng, len(caption_to_image), dimensions)
    return images, noisy / np.linalg.norm(noisy, axis=1, keepdims=True), caption_to_image


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=150),
    levels=st.sampled_from([1, 2, 40]),
    chunk=st.sampled_from([1, 64, 512]),
)
def test_ranks_equal_a_plain_loop(seed, counts, levels, chunk):
    """Whole numbers as coordinates make many exact ties, and make any order of summation exact."""
    rng = np.random.default_rng(seed)
    caption_to_image = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = rng.integers(-levels, levels + 1, (len(counts), 3)).astype(np.float32)
    captions = rng.integers(-levels, levels + 1, (len(caption_to_image), 3)).astype(np.float32)
    i2t, t2i = loop_ranks(images @ captions.T, caption_to_image)
    for result in (
        ranks(images, captions, caption_to_image, chunk=chunk),
        ranks_from_scores(images @ captions.T, caption_to_image),
    ):
        assert np.array_equal(result.i2t, i2t)
        assert np.array_equal(result.t2i, t2i)


def test_ranks_equal_sorting_and_do_not_depend_on_the_chunk():
    images, captions, caption_to_image = pairs(300, noise=2.0)
    i2t, t2i = reference_ranks(images, captions, caption_to_image)
    for chunk in (64, 128, 512):
        ranked = ranks(images, captions, caption_to_image, chunk=chunk)
        assert np.array_equal(ranked.i2t, i2t)
        assert np.array_equal(ranked.t2i, t2i)


def test_ranks_take_tensors_and_leave_their_gradients_alone():
    images, captions, caption_to_image = pairs(70)
    tensor = torch.tensor(images, requires_grad=True)
    ranked = ranks(tensor, torch.tensor(captions), torch.tensor(caption_to_image))
    assert np.array_equal(ranked.t2i, ranks(images, captions, caption_to_image).t2i)
    assert tensor.grad is None


def test_recalls_by_hand():
    ranked = Ranks(i2t=np.array([1, 6]), t2i=np.array([1, 2, 7, 20]), caption_to_image=np.array([0, 0, 1, 1]))
    metrics = recalls(ranked)
    assert (metrics.i2t_r1, metrics.i2t_r5, metrics.i2t_r10) == (50, 50, 100)
    assert (metrics.t2i_r1, metrics.t2i_r5, metrics.t2i_r10) == (25, 50, 75)
    assert (metrics.i2t_median, metrics.i2t_mean, metrics.t2i_median, metrics.t2i_mean) == (
        3.5,
        3.5,
        4.5,
        7.5,
    )
    assert (metrics.rsum, metrics.r1) == (350, 37.5)


@pytest.mark.parametrize(
    "images, words",
    [
        ([0, 0, 1], "must be distinct, from 0 to 1"),
        ([-1, 0], "indices from -1 to 0; they must be distinct, from 0 to 1"),
        ([0, 2], "indices from 0 to 2; they must be distinct, from 0 to 1"),
        ([], "chooses at least one"),
        ([0.0, 1.0], "the type float64"),
        ([True], r"the type bool and the shape \(1,\); it must be a mask of 2 "),
        ([[0, 1]], r"shape \(1, 2\)"),
    ],
)
def test_each_image_is_chosen_once_or_not_at_all(images, words):
    ranked = Ranks(i2t=np.array([1, 6]), t2i=np.array([1, 7]), caption_to_image=np.arange(2))
    vectors = np.eye(2, dtype=np.float32)
    with pytest.raises(UserError, match=words):
        recalls(ranked, images=images)
    with pytest.raises(UserError, match=words):
        subset(vectors, vectors, np.arange(2), images)


@pytest.mark.parametrize("each", [1, 5])
def test_recall_at_k_is_the_share_of_ranks_up_to_k(each):
    """One caption of each image needs no owners."""
    images, captions, caption_to_image = pairs(40, captions=each, noise=2.0)
    i2t, t2i = reference_ranks(images, captions, caption_to_image)
    for k in (1, 3):
        both = recall_at_k(images, captions, *([caption_to_image] if each > 1 else []), k=k)
        assert both == pytest.approx((100 * np.mean(i2t <= k), 100 * np.mean(t2i <= k)))
        assert each == 1 or both[0] != both[1]
    with pytest.raises(UserError, match="k is 0"):
        recall_at_k(images, captions, caption_to_image, k=0)


def test_groups_restrict_the_queries_but_not_the_gallery():
    images, captions, caption_to_image = pairs(80, noise=2.0)
    ranked = ranks(images, captions, caption_to_image)
    groups = ["in-distribution", "novel compositions"] * 40
    by_group = recalls_by_group(ranked, groups)
    assert list(by_group) == ["in-distribution", "novel compositions"]
    assert by_group["in-distribution"].t2i_mean == ranked.t2i[caption_to_image % 2 == 0].mean()
    assert by_group["novel compositions"].i2t_r5 == 100 * (ranked.i2t[1::2] <= 5).mean()
    half = recalls(ranks(*subset(images, captions, caption_to_image, np.arange(80) % 2 == 0)))
    assert half.rsum > by_group["in-distribution"].rsum  # half the gallery is easier


def test_embed_gives_rows_in_the_order_of_the_split_and_restores_the_mode():
    model, split = fake_model(), fake_pairs()
    images, captions = embed(model, split, batch_size=3)
    assert np.array_equal(images[:, 0], np.arange(7, dtype=np.float32))
    assert np.array_equal(captions[:, 0], np.arange(35, dtype=np.float32))
    assert images.dtype == captions.dtype == np.float32
    assert model.training


def test_an_image_is_embedded_with_its_own_mask_and_guide_and_a_caption_with_its_own_length():
    from tests.reference.small import small
    from tests.training.test_cca_init import pairs as drawn
    from userlib.data.captions import CaptionDataset
    from userlib.model.user import DualEncoder

    plain, rng = drawn(6, named=(1, 2, 3)), np.random.default_rng(0)
    mask = np.arange(5) < 2 + np.arange(6)[:, None] % 4
    features = replace(plain.features, mask=mask, guide=rng.standard_normal((6, 6)).astype(np.float32))
    given = CaptionDataset(plain.split, features, plain.tokenizer)
    config = small(vocab_size=given.tokenizer.vocab_size, region_dim=8, enhancement="sge+cge")
    model = DualEncoder(config).eval()
    images, captions = embed(model, given, batch_size=4)
    for row in range(len(given)):
        one = given.batch(np.array([row]))
        with torch.no_grad():
            image = model.encode_image(one.tokens, one.token_mask, one.guide)
            caption = model.encode_text(one.input_ids, one.attention_mask)
        assert images[given.caption_to_image[row]] == pytest.approx(image[0].numpy(), abs=1e-5)
        assert captions[row] == pytest.approx(caption[0].numpy(), abs=1e-5)
    assert evaluate(model, given) == recalls(ranks(*embed(model, given), given.caption_to_image))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i, c, o: (i[:, :5], c, o), "16"),
        (lambda i, c, o: (i, c, o + 1), "belongs to image 4"),
        (lambda i, c, o: (i, c, o - 1), "belongs to image -1"),
        (lambda i, c, o: (i, c[:-5], o[:-5]), "no caption"),
        (lambda i, c, o: (i, c, o[:-1]), "shape"),
        (lambda i, c, o: (i, c, o.astype(float)), "float64"),
        (lambda i, c, o: (i[:0], c[:0], o[:0]), "nothing to rank"),
        (lambda i, c, o: (i[0], c, o), "shape"),
        (lambda i, c, o: (i * 1e30, c * 1e30, o), "normalise"),
    ],
)
def test_bad_input_is_named(change, words):
    with pytest.raises(UserError, match=words):
        ranks(*change(*pairs(4)))


@given(
    images=st.one_of(HOSTILE, st.just([[1.0, 2.0], [3.0]]), st.just("picture"), st.none()),
    captions=HOSTILE,
    caption_to_image=st.one_of(
        st.lists(st.integers(-2, 4), max_size=4), st.just(["0", "1"]), st.just([[0], [1, 2]])
    ),
)
def test_hostile_input_ends_in_ranks_or_in_the_documented_error(images, captions, caption_to_image):
    try:
        ranked = ranks(images, captions, caption_to_image)
    except UserError:
        return
    assert ranked.t2i.min() >= 1
    assert ranked.t2i.max() <= len(ranked.i2t)


# The traps, one test a row.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_argsort_puts_nan_first(value):
    images, captions, caption_to_image = pairs(10)
    captions[17, 3] = value
    with pytest.raises(UserError, match="row 17"):
        ranks(images, captions, caption_to_image)
    with pytest.raises(UserError, match="NaN or infinite"):
        ranks_from_scores(images @ captions.T, caption_to_image)


@pytest.mark.parametrize("pictures", [10, 65, 200])
def test_strict_greater_counting_crowns_a_collapsed_model(pictures):
    images = np.tile(unit(np.random.default_rng(0), 1, 33), (pictures, 1))
    caption_to_image = np.repeat(np.arange(pictures), 5)
    ranked = ranks(images, images[caption_to_image], caption_to_image, chunk=64)
    assert (ranked.t2i == pictures).all()
    assert (ranked.i2t == 5 * (pictures - 1) + 1).all()
    assert recalls(ranked).t2i_r1 == 0


def test_positive_outside_the_product_loses_to_itself():
    """A perfect model: every positive is the highest of its row and column, by a clear margin, and must not
    lose to itself."""
    images, _, caption_to_image = pairs(300, dimensions=257)
    ranked = ranks(images, images[caption_to_image], caption_to_image, chunk=64)
    assert (ranked.t2i == 1).all()
    assert (ranked.i2t == 1).all()


@pytest.mark.parametrize("how", ["precision", "autocast"])
def test_half_precision_scores(how):
    """Neither a reduced matmul precision nor autocast around the call may reach the scores; both would change
    the ranks."""
    images, captions, caption_to_image = pairs(400, dimensions=64, noise=3.0)
    truth = reference_ranks(images, captions, caption_to_image)[1]
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        try:
            backend.fp32_precision = "bf16" if how == "precision" else before
            ranked = ranks(images, captions, caption_to_image)
            assert backend.fp32_precision == ("bf16" if how == "precision" else before)
        finally:
            backend.fp32_precision = before
    assert np.array_equal(ranked.t2i, truth)
    with pytest.raises(UserError, match="float16"):
        ranks_from_scores((images @ captions.T).astype(np.float16), caption_to_image)


def test_f30k_dev_cut_looks_at_all_1014_pictures():
    images, captions, caption_to_image = pairs(1014, dimensions=8)
    images[1000:] *= -1  # the fourteen that a cut at 5,000 captions would miss are all wrong
    ranked = ranks(images, captions, caption_to_image)
    assert ranked.i2t.shape == (1014,)
    assert ranked.t2i.shape == (5070,)
    assert ranked.t2i[5000:].min() > 10


def test_coco_has_25010_captions():
    """Ten pictures have a sixth caption: nothing may assume that caption j belongs to image j // 5."""
    images, captions, caption_to_image = pairs(50, noise=2.0)
    extra = np.arange(3, 50, 5)
    captions = np.insert(captions, extra * 5, unit(np.random.default_rng(1), len(extra), 16), axis=0)
    caption_to_image = np.insert(caption_to_image, extra * 5, extra)
    ranked = ranks(images, captions, caption_to_image)
    i2t, t2i = loop_ranks(images @ captions.T, caption_to_image)
    assert np.array_equal(ranked.i2t, i2t)
    assert np.array_equal(ranked.t2i, t2i)


def test_fold_order_is_consecutive():
    images, captions, caption_to_image = pairs(90, noise=1.5)
    images[:30] = unit(
        np.random.default_rng(3), 1, 16
    )  # the first fold is collapsed: only consecutive folds keep it apart
    shuffled = np.random.default_rng(4).permutation(len(caption_to_image))
    result = fold_average(images, captions[shuffled], caption_to_image[shuffled], size=30)
    by_hand = [
        recalls(ranks(images[s : s + 30], captions[5 * s : 5 * s + 150], caption_to_image[:150]))
        for s in (0, 30, 60)
    ]
    assert result.rsum == pytest.approx(np.mean([one.rsum for one in by_hand]), abs=1e-9)
    assert result.t2i_median == pytest.approx(np.mean([one.t2i_median for one in by_hand]))
    with pytest.raises(UserError, match="folds of 40"):
        fold_average(images, captions, caption_to_image, size=40)
    tensors = fold_average(torch.tensor(images), torch.tensor(captions), caption_to_image, size=30)
    assert tensors == fold_average(images, captions, caption_to_image, size=30)
    for size in (30.0, True, "30"):
        with pytest.raises(UserError, match=f"size is {size!r}; it must be a whole number"):
            fold_average(images, captions, caption_to_image, size=size)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda i, c, o: ranks(i, c, o, chunk=2.0), "chunk is 2.0; it must be a whole number"),
        (lambda i, c, o: fold_average(i.tolist(), c, o, size=2), "images is of the type list"),
        (lambda i, c, o: subset(i, c.tolist(), o, [0]), "captions is of the type list"),
        (lambda i, c, o: recalls(None), "ranks is None; it must be a Ranks"),
        (lambda i, c, o: recalls_by_group(ranks(i, c, o), "abcd"), "groups is 'abcd'; it must be a list"),
    ],
)
def test_an_argument_of_another_type_is_named(call, said):
    with pytest.raises(UserError, match=said):
        call(*pairs(4))


def test_masked_values_are_no_scores():
    """numpy drops the mask, so that what was left out would count again."""
    images, captions, owner = pairs(4)
    masked = np.ma.masked_array(images, mask=images > 1)
    assert ranks(masked, captions, owner).i2t.shape == (4,)  # nothing is masked
    masked[0, 0] = np.ma.masked
    ranked = ranks(images, captions, owner)
    for call in (
        lambda: ranks(masked, captions, owner),
        lambda: ranks(images, captions, np.ma.masked_array(owner, mask=owner == 0)),
        lambda: recalls(ranked, images=np.ma.masked_array(np.arange(4), mask=[1, 0, 0, 0])),
        lambda: Ranks(np.ma.masked_array(ranked.i2t, mask=[1, 0, 0, 0]), ranked.t2i, owner),
    ):
        with pytest.raises(UserError, match="have masked values"):
            call()


def test_ranks_made_by_hand_are_looked_at():
    listed = Ranks(i2t=[1, 6], t2i=[1, 2, 7], caption_to_image=[0, 0, 1])
    assert listed.t2i.dtype == np.int64 and recalls(listed).i2t_r1 == 50
    for i2t, t2i, owner, said in (
        ([0, 1], [1, 1], [0, 1], "i2t has the rank 0; ranks count from 1"),
        ([1, 1], [2, -1], [0, 1], "t2i has the rank -1; ranks count from 1"),
        ([1.0, 2.0], [1, 1], [0, 1], "i2t has the type float64 .* whole numbers from 1 up"),
        ([[1, 2]], [1, 1], [0, 1], r"i2t has the type int64 and the shape \(1, 2\)"),
        ([1, 1], [1, 1], [0, 1, 1], "one whole number for each of the 2 captions"),
        ([1, 1], [1, 1], [0, 2], "caption 1 belongs to image 2"),
    ):
        with pytest.raises(UserError, match=said):
            Ranks(i2t=i2t, t2i=t2i, caption_to_image=owner)


def test_images_encoded_five_times():
    model, split = fake_model(), fake_pairs()
    embed(model, split, batch_size=3)
    assert model.pictures_seen == 7
    assert model.captions_seen == 35


def fake_pairs(pictures=7, captions=5):
    """What `embed` asks of CaptionDataset: batches of pictures in order, and of captions in another order with
    their rows."""
    tokens = torch.arange(pictures, dtype=torch.float32)[:, None, None].expand(pictures, 4, 2)
    rows = np.random.default_rng(0).permutation(pictures * captions)
    words = torch.from_numpy(rows)[:, None].expand(len(rows), 3)

    def image_batches(size, share):
        own = tokens[share[0] :: share[1]]
        yield from ((own[s : s + size], None, None) for s in range(0, len(own), size))

    def caption_batches(size, share):
        own, ids = (part[share[0] :: share[1]] for part in (rows, words))
        yield from (
            (own[s : s + size], ids[s : s + size], ids[s : s + size] >= 0) for s in range(0, len(own), size)
        )

    return SimpleNamespace(image_batches=image_batches, caption_batches=caption_batches)


def fake_model():
    class Model(torch.nn.Module):
        pictures_seen = captions_seen = 0

        def encode_image(self, tokens, mask=None, guide=None):
            assert not self.training
            self.pictures_seen += len(tokens)
            return tokens[:, 0]

        def encode_text(self, input_ids, attention_mask):
            self.captions_seen += len(input_ids)
            return input_ids[:, :2].double()

    return Model()


def test_shares_of_an_embedding_add_up_to_the_whole():
    """Each process encodes its own images and captions alone; zeros stand for those of the others."""
    from tests.training.test_cca_init import pairs
    from userlib.model.user import DualEncoder

    given = pairs(7, named=(3, 1, 2))  # captions of different lengths, which are read by length
    torch.manual_seed(0)
    model = DualEncoder(small(vocab_size=given.tokenizer.vocab_size, region_dim=8))
    whole = embed(model, given, batch_size=2)
    shares = [embed(model, given, batch_size=2, share=(rank, 3)) for rank in range(3)]
    for number, vectors in enumerate(whole):
        parts = [share[number] for share in shares]
        assert (np.abs(vectors).max(1) > 0).all() and vectors.shape == parts[0].shape
        np.testing.assert_allclose(sum(parts), vectors, atol=1e-6)
        encoded = [int((np.abs(part).max(1) > 0).sum()) for part in parts]
        assert sum(encoded) == len(vectors) and max(encoded) - min(encoded) <= 1
