"""Augmentation keeps its shares and never empties a caption; batches hold what they should."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.data.copies import captions
from userlib.data.captions import CaptionDataset, augment, drop_regions
from userlib.data.splits import Split
from userlib.data.tokenizers import WordTokenizer
from userlib.data.tokens import Features
from userlib.errors import UserError

TOKENIZER = WordTokenizer([f"word{i}" for i in range(20)])
ORDINARY = {1, *range(5, 25)}


@given(
    words=st.lists(st.sampled_from(sorted(ORDINARY)), min_size=1, max_size=12),
    seed=st.integers(0, 999),
    p=st.floats(0, 1),
)
def test_augmentation_never_empties_and_keeps_the_ends(words, seed, p):
    ids = np.array([3, *words, 4])
    out = augment(ids, rng=np.random.default_rng(seed), tokenizer=TOKENIZER, p=p)
    assert out[0] == 3
    assert out[-1] == 4
    assert 3 <= len(out) <= len(ids)
    assert set(out[1:-1].tolist()) <= ORDINARY | {2}
    if p == 0:
        np.testing.assert_array_equal(out, ids)


def test_augmentation_deletes_nothing_but_words_when_it_deletes_all():
    ids = np.array([3, 7, 8, 9, 4])
    result = set()
    for seed in range(60):
        out = augment(ids, rng=np.random.default_rng(seed), tokenizer=TOKENIZER, p=1, masked=0, random=0)
        assert len(out) == 3
        result.add(int(out[1]))
    assert result == {7, 8, 9}


def test_augmentation_has_the_shares_of_the_paper():
    """p = .2: of all tokens 10 % masked, 2 % replaced, 8 % deleted."""
    ids = np.full(200_000, 6)
    out = augment(ids, rng=np.random.default_rng(0), tokenizer=TOKENIZER)
    assert abs(1 - len(out) / len(ids) - 0.08) < 0.003
    assert abs((out == 2).sum() / len(ids) - 0.10) < 0.003
    others = out[(out != 2) & (out != 6)]
    assert abs(len(others) / len(ids) - 0.02 * 20 / 21) < 0.002
    assert set(others.tolist()) == ORDINARY - {6}
    counts = np.bincount(others, minlength=25)[sorted(ORDINARY - {6})]
    assert counts.min() > 0.7 * counts.mean()


def test_augmentation_is_the_same_for_a_seed_and_leaves_its_input():
    ids = np.arange(5, 25)
    kept = ids.copy()
    first, again = (augment(ids, rng=np.random.default_rng(3), tokenizer=TOKENIZER, p=0.5) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(ids, kept)


@given(
    n=st.integers(1, 5),
    r=st.integers(1, 6),
    share=st.floats(0, 0.95),
    seed=st.integers(0, 99),
    masked=st.booleans(),
)
def test_dropping_regions_leaves_one_and_invents_none(n, r, share, seed, masked):
    rng = np.random.default_rng(seed)
    there = torch.from_numpy(rng.random((n, r)) < 0.5)
    there[:, 0] = True
    kept = drop_regions(there if masked else None, (n, r), share, rng)
    assert kept.any(1).all()
    if masked:
        assert not (kept & ~there).any()


def test_an_image_without_a_region_is_named():
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(UserError, match="Image 1 of a batch of 2 has no region"):
        drop_regions(mask, (2, 2), 0.5, np.random.default_rng(0))


def test_dropping_regions_drops_the_share():
    kept = drop_regions(None, (400, 50), 0.3, np.random.default_rng(0))
    assert abs(kept.float().mean().item() - 0.7) < 0.02


N, R, D, G = 6, 4, 3, 2


@pytest.fixture
def pairs():
    texts = tuple(text for i in range(N) for text in captions(i, 1 + i % 3))
    caption_to_image = np.repeat(np.arange(N), [1 + i % 3 for i in range(N)])
    split = Split(
        name="train",
        ids=tuple(f"p{i}" for i in range(N)),
        pictures=None,
        captions=texts,
        caption_to_image=caption_to_image,
        fingerprint="f",
    )
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((N, R, D)).astype(np.float16)
    features = Features(
        tokens=tokens,
        guide=rng.standard_normal((N, G)).astype(np.float32),
        mask=rng.random((N, R)) < 0.9,
        hflip=-tokens,
    )
    return CaptionDataset(split, features, WordTokenizer.fit(texts))


def test_a_batch_holds_the_asked_captions_and_their_pictures(pairs):
    rows = np.array([7, 0, 3, 4, 7])
    batch = pairs.batch(rows)
    assert len(pairs) == len(pairs.split.captions) == len(pairs.lengths)
    for k, row in enumerate(rows):
        image = pairs.split.caption_to_image[row]
        ids = pairs.tokenizer.encode(pairs.split.captions[row])
        np.testing.assert_array_equal(batch.tokens[k], pairs.features.tokens[image].astype(np.float32))
        np.testing.assert_array_equal(batch.guide[k], pairs.features.guide[image])
        np.testing.assert_array_equal(batch.token_mask[k], pairs.features.mask[image])
        assert batch.image_ids[k] == image
        assert batch.input_ids[k, : len(ids)].tolist() == ids
        assert batch.input_ids[k, len(ids) :].eq(pairs.tokenizer.pad_id).all()
        assert batch.attention_mask[k].sum() == len(ids) == pairs.lengths[row]
    assert batch.tokens.dtype == torch.float32
    assert batch.input_ids.dtype == batch.image_ids.dtype == torch.int64
    assert batch.input_ids.shape[1] == pairs.lengths[rows].max()


def test_training_draws_one_of_the_two_views(pairs):
    rows = np.arange(len(pairs)).repeat(40)
    batch = pairs.batch(rows, rng=np.random.default_rng(0))
    plain = torch.from_numpy(pairs.features.tokens.astype(np.float32))[pairs.caption_to_image[rows]]
    mirrored = (batch.tokens == -plain).all((1, 2))
    assert ((batch.tokens == plain).all((1, 2)) | mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6
    assert torch.equal(pairs.batch(rows).tokens, plain)


def test_training_augments_and_evaluation_does_not(pairs):
    rows = np.arange(len(pairs))
    plain = pairs.batch(rows, caption_augment_prob=0.9, region_mask_prob=0.9)
    assert plain.attention_mask.sum() == pairs.lengths.sum()
    assert torch.equal(plain.token_mask, torch.from_numpy(pairs.features.mask[pairs.caption_to_image]))
    changed = pairs.batch(rows, rng=np.random.default_rng(0), caption_augment_prob=0.9, region_mask_prob=0.9)
    assert changed.attention_mask.sum() < plain.attention_mask.sum()
    assert changed.token_mask.sum() < plain.token_mask.sum()
    assert not (changed.token_mask & ~plain.token_mask).any()  # a region that is not there stays away
    again = pairs.batch(rows, rng=np.random.default_rng(0), caption_augment_prob=0.9, region_mask_prob=0.9)
    assert torch.equal(changed.input_ids, again.input_ids)
    assert torch.equal(changed.token_mask, again.token_mask)


def test_a_sample_of_regions_is_drawn_for_each_image_without_repetition(pairs):
    """In training alone; of each image those that are there come first, with their own mask and view."""
    rows = np.arange(len(pairs)).repeat(30)
    assert pairs.batch(rows, region_sample=2).tokens.shape[1] == R
    batch = pairs.batch(rows, rng=np.random.default_rng(0), region_sample=2)
    assert batch.tokens.shape == (len(rows), 2, D) and batch.token_mask.shape == (len(rows), 2)
    images = pairs.caption_to_image[rows]
    places = []
    for tokens, mask, image in zip(batch.tokens.numpy(), batch.token_mask.numpy(), images, strict=True):
        own = pairs.features.tokens[image].astype(np.float32)
        matches = [np.flatnonzero((np.abs(own) == np.abs(token)).all(1)).item() for token in tokens]
        signs = {bool((own[place] == token).all()) for place, token in zip(matches, tokens, strict=True)}
        assert len(set(matches)) == 2 and len(signs) == 1  # two places, of one view
        assert mask.tolist() == pairs.features.mask[image][matches].tolist()
        assert mask.all() == (pairs.features.mask[image].sum() >= 2)
        places.append(matches)
    full = pairs.features.mask[images].all(1)
    shares = np.bincount(np.array(places)[full].ravel(), minlength=R) / (2 * full.sum())
    assert abs(shares - 1 / R).max() < 0.1
    everything = pairs.batch(rows, rng=np.random.default_rng(0), region_sample=R)
    assert torch.equal(everything.tokens, pairs.batch(rows, rng=np.random.default_rng(0)).tokens)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_evaluation_sees_everything_once(pairs, size):
    tokens, masks, guides = (torch.cat(parts) for parts in zip(*pairs.image_batches(size), strict=True))
    np.testing.assert_array_equal(tokens, pairs.features.tokens.astype(np.float32))
    np.testing.assert_array_equal(masks, pairs.features.mask)
    np.testing.assert_array_equal(guides, pairs.features.guide)
    seen = []
    longest = 0
    for rows, input_ids, mask in pairs.caption_batches(size):
        seen += rows.tolist()
        assert mask.shape[1] >= longest
        longest = mask.shape[1]
        for k, row in enumerate(rows):
            assert input_ids[k][mask[k]].tolist() == pairs.ids(row).tolist()
    assert sorted(seen) == list(range(len(pairs)))


def test_moving_a_batch_keeps_what_is_absent_absent(pairs):
    batch = pairs.batch(np.array([0, 1]))
    batch.guide = None
    moved = batch.to("meta")
    assert moved.guide is None
    assert moved.tokens.device.type == moved.input_ids.device.type == "meta"


@pytest.mark.parametrize("part", ["tokens", "guide", "hflip"])
def test_nan_is_named(pairs, part):
    getattr(pairs.features, part)[2] = np.nan
    with pytest.raises(UserError, match=r"image 'p2' \(row 2 of 'train'\) contain NaN"):
        pairs.batch(np.arange(len(pairs)), rng=np.random.default_rng(0))


def test_large_finite_numbers_are_no_error(pairs):
    big = Features(tokens=np.full((N, R, D), 3e38, np.float32))
    assert CaptionDataset(pairs.split, big, pairs.tokenizer).batch(np.arange(5)).tokens.isfinite().all()


def test_tokens_of_another_split_are_refused(pairs):
    with pytest.raises(UserError, match="has 6 images, but tokens of 5"):
        CaptionDataset(pairs.split, Features(tokens=np.zeros((5, R, D))), pairs.tokenizer)


class Pieces:
    """A vocabulary of pieces: 0 start, 1 end, 2 mask, 9 pad; from 20 on a piece goes on with the word before it."""

    name, vocab_size, pad_id, mask_id, special_ids = "pieces", 30, 9, 2, frozenset({0, 1, 2, 9})

    def word_numbers(self, ids):
        return np.maximum(np.cumsum(ids < 20) - 1, 0)

    def encode_all(self, texts):
        return [[0, *(10 + len(word) % 10 for word in text.split()), 1] for text in texts]


WORDS_IN_PIECES = np.array([0, 5, 20, 21, 6, 7, 22, 8, 1])  # four words: 5 20 21, 6, 7 22, 8


def as_words(ids) -> list[tuple[int, ...]]:
    starts = np.flatnonzero(ids < 20)
    return [tuple(part.tolist()) for part in np.split(ids, starts[1:])]


@pytest.mark.parametrize("masked, random", [(1.0, 0.0), (0.0, 0.0), (0.5, 0.1)])
def test_augmentation_draws_once_for_all_pieces_of_a_word(masked, random):
    """As the release does: a word is masked, replaced or deleted whole."""
    pieces, changed = Pieces(), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        out = augment(WORDS_IN_PIECES, rng=rng, tokenizer=pieces, p=0.5, masked=masked, random=random)
        if random:
            continue
        left = out.tolist()
        for word in as_words(WORDS_IN_PIECES)[1:-1]:  # in order: the word itself, as many masks, or nothing
            at = left.index(word[0]) if word[0] in left else None
            assert at is None or tuple(left[at : at + len(word)]) == word
            changed += at is None
            assert at is not None or not set(word) & set(left)
        if masked == 1.0:
            assert len(out) == len(WORDS_IN_PIECES)
        assert out[0] == 0 and out[-1] == 1
    assert random or 300 < changed < 500  # half of 800 words


def test_replaced_pieces_are_drawn_one_by_one_and_never_special():
    pieces = Pieces()
    drawn = [
        augment(WORDS_IN_PIECES, rng=np.random.default_rng(seed), tokenizer=pieces, p=1, masked=0, random=1)
        for seed in range(300)
    ]
    assert {len(out) for out in drawn} == {len(WORDS_IN_PIECES)}
    inner = np.stack(drawn)[:, 1:-1]
    assert set(inner.ravel().tolist()) == set(range(30)) - pieces.special_ids
    assert len({tuple(row) for row in inner[:, :3].tolist()}) > 250  # the pieces of one word differ


def test_a_caption_that_would_be_empty_keeps_one_whole_word():
    kept = set()
    for seed in range(80):
        rng = np.random.default_rng(seed)
        out = augment(WORDS_IN_PIECES, rng=rng, tokenizer=Pieces(), p=1, masked=0, random=0)
        kept.add(tuple(out[1:-1].tolist()))
    assert kept == {(5, 20, 21), (6,), (7, 22), (8,)}


def test_words_that_are_one_piece_each_are_drawn_as_ever():
    """The draws that stored results were made with."""
    ids = np.array([3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 4])
    out = augment(ids, rng=np.random.default_rng(7), tokenizer=TOKENIZER, p=0.6)
    rng = np.random.default_rng(7)
    draw, expected = rng.random(len(ids)) / 0.6, []
    for value, one in zip(draw, ids.tolist(), strict=True):
        if one in (3, 4) or value >= 1:
            expected.append(one)
        elif value < 0.5:
            expected.append(2)
        elif value < 0.6:
            expected.append(None)  # replaced
    assert len(out) == len(expected)
    assert all(b is None or a == b for a, b in zip(out.tolist(), expected, strict=True))


def test_padding_is_the_vocabularys_own(pairs):
    dataset = CaptionDataset(pairs.split, pairs.features, Pieces())
    batch = dataset.batch(np.arange(len(dataset)))
    assert set(batch.input_ids[~batch.attention_mask].tolist()) == {9}
    assert not (batch.input_ids[batch.attention_mask] == 9).any()


@pytest.mark.parametrize("chunk", [1, 4, 10_000])
def test_captions_are_numbered_in_chunks(pairs, chunk, monkeypatch):
    monkeypatch.setattr("userlib.data.captions.CHUNK", chunk)
    dataset = CaptionDataset(pairs.split, pairs.features, pairs.tokenizer)
    assert dataset._ids.dtype == np.int32
    for row, text in enumerate(pairs.split.captions):
        assert dataset.ids(row).tolist() == pairs.tokenizer.encode(text)
    assert dataset.batch(np.arange(len(dataset))).input_ids.dtype == torch.int64


def test_numbering_takes_little_more_than_the_numbers(pairs):
    """A tenth of COCO's captions: the peak is a few chunks, not all captions as lists."""
    count = 50_000
    split = replace(
        pairs.split,
        captions=("a b c d e f g h i j",) * count,
        caption_to_image=np.arange(count) % N,
    )
    tracemalloc.start()
    try:
        dataset = CaptionDataset(split, pairs.features, Pieces())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * (dataset._ids.nbytes + 8 * count) + 2**22


def test_a_view_is_drawn_for_each_row_alone(pairs):
    """Two captions of one image in a batch may see different views of it, and the guide stays its own."""
    rows = np.zeros(64, dtype=np.int64)
    batch = pairs.batch(rows, rng=np.random.default_rng(0))
    assert len({float(row[0, 0]) for row in batch.tokens}) == 2
    assert torch.equal(batch.guide, pairs.batch(rows).guide)


def test_without_drop_nothing_is_dropped(pairs):
    batch = pairs.batch(np.arange(len(pairs)), rng=np.random.default_rng(0))
    plain = pairs.batch(np.arange(len(pairs)))
    assert torch.equal(batch.input_ids, plain.input_ids) and torch.equal(batch.token_mask, plain.token_mask)
