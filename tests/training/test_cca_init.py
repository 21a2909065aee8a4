"""The closed-form start: the model is the canonical correlation before its first step, keys included."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from tests.reference.small import small
from userlib.baselines import fit_cca
from userlib.config import Config, ModelConfig
from userlib.data.captions import CaptionDataset
from userlib.data.splits import Split
from userlib.data.tokenizers import WordTokenizer
from userlib.data.tokens import Features
from userlib.errors import UserError
from userlib.evaluation import ranks, recalls
from userlib.model.user import USER
from userlib.training.cca_init import (
    IDF_POWER,
    RIDGE,
    STATES,
    cca_init,
    init_from_cca,
    mean_states,
    word_prior,
)

WORDS = ["dog", "cat", "bird", "fish", "cow", "sheep", "goat", "lion", "bear", "wolf", "fox", "duck", "frog"]
WIDTH = 6


def pairs(pictures=120, *, seed=0, hflip=False, named=(2,)) -> CaptionDataset:
    """Each image shows three of thirteen things; its five tokens hold them noisily, a caption names two; named: as many
    as this says, caption by caption in turn.
    """
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((len(WORDS), 8))
    shown = np.stack([rng.permutation(len(WORDS))[:3] for _ in range(pictures)])
    caption_to_image = np.repeat(np.arange(pictures), 3)
    said = tuple(
        "a " + " and a ".join(WORDS[k] for k in rng.permutation(shown[i])[: named[row % len(named)]])
        for row, i in enumerate(caption_to_image)
    )
    seen = lambda: (3 + mixing[shown].sum(1)[:, None] + 0.5 * rng.standard_normal((pictures, 5, 8))).astype(
        np.float32
    )
    split = Split(
        name="train",
        ids=tuple(str(i) for i in range(pictures)),
        pictures=None,
        captions=said,
        caption_to_image=caption_to_image,
        fingerprint="x",
    )
    features = Features(tokens=seen(), hflip=seen() if hflip else None)
    return CaptionDataset(split, features, WordTokenizer.fit([*WORDS, "a and"]))


def model_of(train: CaptionDataset, **changes) -> USER:
    settings = {
        "word_residual": True,
        "pooling": "mean",
        "text_pooling": "mean",
        "region_scaling": "standard",
        "init": "cca",
    }
    settings |= {"word_width": WIDTH, "region_dim": 8, "vocab_size": train.tokenizer.vocab_size}
    config = small(**settings | changes)
    torch.manual_seed(0)
    model = USER(config).eval()
    model.init_from_data(torch.from_numpy(np.asarray(train.features.tokens[:40])))
    return model


def plain(train: CaptionDataset) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of images and captions by the canonical correlation itself, word by word."""
    size, count = train.tokenizer.vocab_size, len(train)
    texts = np.zeros((count, size))
    for row in range(count):
        for word in train.ids(row):
            texts[row, word] += 1 / len(train.ids(row))
    for word in range(size):
        found_in = (texts[:, word] > 0).sum()
        special = word in train.tokenizer.special_ids
        texts[:, word] *= 0 if special or not found_in else (np.log(count / found_in) + 1) ** IDF_POWER
    from scipy import sparse

    pictures = np.asarray(train.features.tokens).mean(1)
    cca = fit_cca(pictures, sparse.csr_matrix(texts.astype(np.float32)), train.caption_to_image, ridge=RIDGE)
    return cca.project_pictures(pictures, WIDTH), cca.project_texts(texts, WIDTH)


def assert_close(one: np.ndarray, other: np.ndarray, atol: float) -> None:
    """As pytest.approx with abs, which takes seconds for a hundred thousand numbers."""
    np.testing.assert_allclose(one, other, rtol=0, atol=atol, equal_nan=False)


def test_a_guide_that_is_added_starts_at_nothing_and_learns():
    train = pairs()
    model = model_of(train, add_guide=True, guide_dim=5)
    init_from_cca(model, train)
    batch, guide = train.batch(np.arange(20)), torch.randn(20, 5)
    for encoders in (model, model.ema_model()):
        assert torch.equal(
            encoders.encode_image(batch.tokens, None, guide),
            encoders.encode_image(batch.tokens, None, -guide),
        )
    model.encode_image(batch.tokens, None, guide)[:, 0].sum().backward()
    assert model.image_encoder.guide_projection.weight.grad.abs().max() > 1e-6


@pytest.mark.parametrize("text", ["gru", "bag"])
@pytest.mark.parametrize("scaling", ["standard", "raw"])
def test_the_model_starts_as_the_canonical_correlation(text, scaling):
    """Images and captions both, by the query encoders and by the keys; beyond the width captions are zero and
    images hardly differ from it.
    """
    train = pairs()
    model = model_of(train, text=text, word_residual=text == "gru", region_scaling=scaling)
    init_from_cca(model, train)
    batch = train.batch(np.arange(len(train)))
    pictures, captions = plain(train)
    for encoders in (model, model.ema_model()):
        with torch.no_grad():
            images = encoders.encode_image(batch.tokens, None).numpy()
            texts = encoders.encode_text(batch.input_ids, batch.attention_mask).numpy()
        # a direction's sign is free, the same for both sides: compare cosines
        assert_close(images @ texts.T, pictures[train.caption_to_image] @ captions.T, 1e-3)
        assert_close(
            images @ images.T,
            (pictures @ pictures.T)[train.caption_to_image][:, train.caption_to_image],
            1e-3,
        )
        assert_close(texts @ texts.T, captions @ captions.T, 1e-3)
        assert not texts[:, WIDTH:].any() and 0 < np.abs(images[:, WIDTH:]).max() < 0.05


def test_unseen_pairs_are_found_before_the_first_step():
    train, unseen = pairs(), pairs(60, seed=1)
    model = model_of(train, enhancement="sge")
    rsum = []
    for start in (lambda: None, lambda: init_from_cca(model, train)):
        start()
        batch = unseen.batch(np.arange(len(unseen)))
        with torch.no_grad():
            images = model.encode_image(batch.tokens, None)[::3].numpy()
            texts = model.encode_text(batch.input_ids, batch.attention_mask).numpy()
        rsum.append(recalls(ranks(images, texts, unseen.caption_to_image)).rsum)
    assert rsum[0] < 150 < 250 < rsum[1]


@pytest.mark.parametrize("pointwise", [None, lambda tokens: np.sign(tokens) * np.sqrt(np.abs(tokens))])
def test_both_sides_have_length_one_on_average_and_mirrored_tokens_count(pointwise):
    """Both are taken as the model takes them: where it takes the roots of tokens, of the mirrored ones too."""
    train = pairs(hflip=True)
    result = cca_init(train, WIDTH, pointwise=pointwise)
    taken = pointwise or (lambda tokens: tokens)
    straight, mirrored = (taken(np.asarray(x)) for x in (train.features.tokens, train.features.hflip))
    means = straight.mean(1) / 2 + mirrored.mean(1) / 2
    pictures = means @ result.token_map.T + result.token_bias
    captions = [result.words[train.ids(row)].mean(0) + result.text_bias for row in range(len(train))]
    assert np.linalg.norm(pictures, axis=1).mean() == pytest.approx(1, abs=1e-3)
    assert np.linalg.norm(captions, axis=1).mean() == pytest.approx(1, abs=1e-3)
    assert not result.words[sorted(train.tokenizer.special_ids)].any()


def test_dimensions_beyond_the_word_vectors_wake():
    """Both sides have a gradient there after the first step, and move away from zero."""
    train = pairs()
    model = model_of(train, embed_dim=4 * WIDTH).train()
    init_from_cca(model, train)
    rows = {"image": model.image_encoder.projection.linear, "text": model.text_encoder.linear}
    before = {side: layer.weight[WIDTH:].detach().clone() for side, layer in rows.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for step in range(2):
        optimizer.zero_grad()
        model(train.batch(np.arange(step, 90, 2))).loss.backward()
        optimizer.step()
    for side, layer in rows.items():
        assert (layer.weight.grad[WIDTH:].abs().amax(1) > 0).all(), side
        assert ((layer.weight[WIDTH:] - before[side]).abs().amax(1) > 0).all(), side


def test_everything_can_learn_from_there():
    """Zero outputs are no dead end: after a few steps each parameter has moved."""
    train = pairs()
    model = model_of(train, enhancement="sge").train()
    init_from_cca(model, train)
    before = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(3):
        batch = train.batch(np.arange(step, 180, 3))
        optimizer.zero_grad()
        model(batch).loss.backward()
        optimizer.step()
    still = [name for name, value in model.named_parameters() if name in before and value.equal(before[name])]
    assert still == []


def bags_of(train):
    """Share of each word in each caption (captions, words), and the weight of each word: 0 where it has none."""
    bags, weights = np.zeros((len(train), train.tokenizer.vocab_size)), []
    for row in range(len(train)):
        np.add.at(bags[row], train.ids(row), 1 / len(train.ids(row)))
    for word in range(bags.shape[1]):
        found_in = (bags[:, word] > 0).sum()
        special = word in train.tokenizer.special_ids
        weights.append(0 if special or not found_in else (np.log(len(bags) / found_in) + 1) ** IDF_POWER)
    return bags, np.array(weights)


@pytest.mark.parametrize("scaling", ["standard", "principal", "root"])
def test_a_pretrained_network_starts_as_the_canonical_correlation_of_its_states_and_words(scaling):
    """Of each caption's mean state next to its bag of words; with all principal components, nothing is lost."""
    from scipy import sparse

    train = pairs(named=(1, 2, 3))  # of unequal length, so that some are padded
    principal = None if scaling == "standard" else 8
    model = model_of(train, text="bert", region_scaling=scaling, principal_dim=principal)
    states = mean_states(model, train)
    batch = train.batch(np.arange(len(train)))
    with torch.no_grad():
        each = model.text_encoder.states(batch.input_ids, batch.attention_mask)
    expected = [each[i, : len(train.ids(i))].mean(0).numpy() for i in range(len(train))]
    assert_close(states, np.stack(expected), 1e-5)
    assert states.std() > 0.01
    assert_close(mean_states(model.train(), train), states, 1e-6)  # without dropout, whatever the mode is
    assert model.training and model.text_encoder.states.training
    init_from_cca(model.eval(), train)
    with torch.no_grad():
        images = model.encode_image(batch.tokens, None).numpy()
        texts = model.encode_text(batch.input_ids, batch.attention_mask).numpy()

    bags, weights = bags_of(train)
    words = bags[:, weights > 0] * weights[weights > 0]
    scaled = states * np.sqrt(words.var(0).sum() / states.var(0).sum()) * STATES
    both = np.concatenate([words, scaled], axis=1).astype(np.float32)
    tokens = np.asarray(train.features.tokens)
    means = (np.sign(tokens) * np.sqrt(np.abs(tokens)) if scaling == "root" else tokens).mean(1)
    cca = fit_cca(means, sparse.csr_matrix(both), train.caption_to_image, ridge=RIDGE)
    expected = cca.project_pictures(means, WIDTH)[train.caption_to_image] @ cca.project_texts(both, WIDTH).T
    assert_close(images @ texts.T, expected, 2e-3)


def test_words_that_train_lacks_start_from_the_vectors_of_a_text_encoder(monkeypatch):
    """The start is the CCA of words and mean word vectors; a word that no caption holds gets what its vector says, and
    those that captions hold theirs with it.
    """
    from scipy import sparse

    plain_pairs = pairs()
    words = [*plain_pairs.tokenizer.words, "puppy"]
    train = CaptionDataset(plain_pairs.split, plain_pairs.features, WordTokenizer(words))
    rng = np.random.default_rng(5)
    given = rng.standard_normal((len(words), 4)).astype(np.float32)
    given[-1] = given[words.index("dog")]
    asked = []
    monkeypatch.setattr(
        "userlib.training.cca_init.sentence_vectors",
        lambda name, texts: asked.append((name, *texts)) or given,
    )
    prior = word_prior("some-encoder", train.tokenizer)
    assert asked == [("some-encoder", *words)] and not prior[:5].any()
    assert prior[5:] == pytest.approx(given - given.mean(0))
    model = model_of(train, text="bag", word_residual=False, text_model="some-encoder")
    init_from_cca(model, train)
    cca = cca_init(train, WIDTH, prior=prior)
    vectors = model.text_encoder.states.embedding.weight.detach().numpy()
    assert vectors == pytest.approx(cca.words, abs=1e-6) and cca.state_map.shape == (WIDTH, 0)
    dog, puppy = (cca.words[5 + words.index(word)] for word in ("dog", "puppy"))
    others = [cca.words[5 + words.index(word)] for word in WORDS[1:]]
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert np.linalg.norm(puppy) > 0 and cosine(dog, puppy) > max(cosine(one, puppy) for one in others)

    bags, weights = bags_of(train)
    columns, more = bags * weights, bags @ prior
    more *= np.sqrt(columns.var(0).sum() / more.var(0).sum()) * STATES
    both = np.concatenate([columns, more], axis=1).astype(np.float32)
    means = np.asarray(train.features.tokens).mean(1)
    fitted = fit_cca(means, sparse.csr_matrix(both), train.caption_to_image, ridge=RIDGE)
    batch = train.batch(np.arange(len(train)))
    with torch.no_grad():
        scores = (
            model.encode_image(batch.tokens, None)
            @ model.encode_text(batch.input_ids, batch.attention_mask).T
        )
    expected = (
        fitted.project_pictures(means, WIDTH)[train.caption_to_image] @ fitted.project_texts(both, WIDTH).T
    )
    assert_close(scores.numpy(), expected, 2e-3)


def test_what_has_no_cca_is_refused():
    train = pairs()
    with pytest.raises(UserError, match="word_width is 9 and a token has 8 channels"):
        cca_init(train, 9)
    for model, said in (
        ({"text": "gru"}, "word_residual false"),
        ({"text": "bag", "region_scaling": "unit"}, "region_scaling 'unit'"),
        ({"text": "bag", "word_width": 64, "embed_dim": 32}, "word_width 64 and embed_dim 32"),
        ({"text": "clip", "text_model": "clip-mini"}, "word_residual false"),
        ({"text": "bag", "pooling": "gpo", "text_pooling": "mean"}, "pooling 'gpo'.*Set model.pooling mean"),
        (
            {"text": "bag", "pooling": "mean", "text_pooling": "max"},
            "text_pooling 'max'.*model.text_pooling mean",
        ),
    ):
        with pytest.raises(UserError, match=said):
            Config(model=ModelConfig(init="cca", **model))


def test_too_many_words_are_refused_with_what_helps(monkeypatch):
    """A vocabulary of as many words as there may be is not: numbers that are no words do not count."""
    train = pairs()
    own = train.tokenizer.words
    monkeypatch.setattr("userlib.training.cca_init.WORDS", len(own) + 1)
    for more, why in (((), None), (("wine",), None), (("wine", "beer"), "--set data.vocabulary of at most")):
        wider = CaptionDataset(train.split, train.features, WordTokenizer([*own, *more]))
        with pytest.raises(UserError, match=why) if why else nullcontext():
            cca_init(wider, WIDTH)
    monkeypatch.setattr("userlib.training.cca_init.WORDS", len(own) - 1)
    with pytest.raises(UserError, match="the train captions have .* larger --set data.min_count"):
        cca_init(train, WIDTH)
