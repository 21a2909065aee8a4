"""An initialisation in closed form: before its first step the model is a canonical correlation of words and tokens.

A few thousand images are too few to learn from scratch what each word looks like. A regularised CCA of the words
of the train captions and the mean tokens of the train images computes it directly: a vector for each word, and a
linear map of a token into the same space (`userlib.baselines.fit_cca`). The word vectors and the linear part of
both projections start there. All other parts (the BiGRU, the MLP of the image's projection, a guide that is added
to the pooled image) start with an output of zero, so that training only adds to it. Where the embedding is wider
than a word vector, the further dimensions of the images start near zero.

A pretrained text encoder can be added to the words: its states of the caption, where it is the text side itself, or
its vectors of single words, where `text_model` names one for a bag or a GRU.

A caption is the mean of its words, each times idf^1.5: the model pools words by their mean, and the power gives rare
words a weight among the frequent ones. Images of validation and test are not used.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from userlib.data.captions import CaptionDataset
from userlib.data.sentences import sentence_vectors
from userlib.data.tokenizers import Tokenizer, WordTokenizer
from userlib.data.tokens import Features
from userlib.errors import UserError
from userlib.inference import scoring
from userlib.model.text_networks import BagOfWords
from userlib.model.user import USER

Array = NDArray[np.float32]
RIDGE = 2.0  # of the mean variance of each side
IDF_POWER = 1.5
STATES = 1.0  # the standard deviation of a pretrained network's states, relative to that of the words
BATCH = 256  # captions
WAKING = 0.001  # factor on the usual initialisation of further dimensions: changes no cosine by 0.001
WORDS = 20_000  # at most: their covariance takes 1.6 GB


@dataclass(frozen=True)
class CCAInit:
    """Word vectors and a map of tokens into one space of d directions, the most correlated first.

    A caption is mean(words[ids] + state_map @ states) + text_bias, an image token_map @ mean token + token_bias; over
    train, the mean of their norms is 1.
    """

    words: Array  # (V, d); zero for words that are not in train, and for special tokens
    state_map: Array  # (d, H) of a pretrained network's states; H is 0 without one
    text_bias: Array  # (d,)
    token_map: Array  # (d, D)
    token_bias: Array  # (d,)


def cca_init(
    train: CaptionDataset,
    width: int,
    *,
    states: Array | None = None,
    prior: Array | None = None,
    pointwise: Callable[[Array], Array] | None = None,
) -> CCAInit:
    """The closed form for a train split, with d = width directions. states (M, H): the mean of a pretrained network's
    states over each caption, which the CCA reads next to the words. prior (V, H): a vector for each word, so that words
    of similar vectors share what is learned, and words outside train get a vector too. pointwise: a function that is
    applied to the tokens first.

    Raises UserError where train has more than 20,000 words, or the tokens have fewer than `width` channels.
    """
    from scipy import sparse

    from userlib.baselines import fit_cca, mean_tokens, variance

    size, count = train.tokenizer.vocab_size, len(train)
    if width > train.features.tokens.shape[2]:
        raise UserError(
            f"word_width is {width} and a token has {train.features.tokens.shape[2]} channels; with init 'cca' a word "
            "vector cannot be wider than a token. Give a smaller --set model.word_width."
        )
    ids = [train.ids(row) for row in range(count)]
    rows = np.repeat(np.arange(count), train.lengths)
    shares = np.repeat(1 / train.lengths, train.lengths).astype(np.float32)
    bags = sparse.csr_matrix((shares, (rows, np.concatenate(ids))), shape=(count, size))  # (M, V)
    found_in = np.bincount(bags.indices, minlength=size)
    weight = (np.log(count / np.maximum(found_in, 1)) + 1) ** IDF_POWER  # (V,)
    weight[found_in == 0] = 0
    weight[sorted(train.tokenizer.special_ids)] = 0
    occurring = np.flatnonzero(weight)
    # (v,): of a pretrained vocabulary, only the words that occur in train
    there = np.arange(size) if states is None else occurring
    number = len(np.setdiff1d(there, [*train.tokenizer.special_ids, train.tokenizer.unknown_id or 0]))
    if number > WORDS:
        wider = len(occurring) <= WORDS  # only by words that the captions lack
        raise UserError(
            f"init is 'cca' and the {'vocabulary has' if wider else 'train captions have'} {number:,} different words; "
            f"a CCA takes at most {WORDS:,}. Give a "
            + (f"--set data.vocabulary of at most {WORDS}." if wider else "larger --set data.min_count.")
        )
    texts = bags[:, there].multiply(weight[there].astype(np.float32)[None]).tocsr().astype(np.float32)
    more, scale = states if prior is None else np.asarray(bags @ prior, np.float32), 0.0  # (M, H)
    if more is not None:
        scale = STATES * float(np.sqrt(variance(texts) / variance(more)))
        texts = sparse.hstack([texts, sparse.csr_matrix(more * np.float32(scale))]).tocsr()
    pictures = mean_tokens(train.features, pointwise)  # (N, D)
    if train.features.hflip is not None:
        flipped = mean_tokens(Features(tokens=train.features.hflip, mask=train.features.mask), pointwise)
        pictures = (pictures + flipped) / np.float32(2)
    cca = fit_cca(pictures, texts, train.caption_to_image, ridge=RIDGE)
    to_text = cca.texts[:, :width] * cca.correlations[:width]  # (v + H, d)
    to_picture = cca.pictures[:, :width] * cca.correlations[:width]  # (D, d)
    text_length = np.linalg.norm(texts @ to_text - cca.text_mean @ to_text, axis=1).mean()
    picture_length = np.linalg.norm((pictures - cca.picture_mean) @ to_picture, axis=1).mean()
    words = np.zeros((size, width), np.float32)
    words[there] = to_text[: len(there)] * weight[there, None] / text_length
    state_map = (to_text[len(there) :] * scale / text_length).T.astype(np.float32)
    if prior is not None:  # linear in the words: it becomes part of their vectors
        words, state_map = words + prior @ state_map.T, state_map[:, :0]
    return CCAInit(
        words=words,
        state_map=state_map,
        text_bias=-(cca.text_mean @ to_text) / text_length,
        token_map=to_picture.T / picture_length,
        token_bias=-(cca.picture_mean @ to_picture) / picture_length,
    )


def word_prior(name: str, tokenizer: Tokenizer) -> Array:
    """(V, H): a pretrained text encoder's vector of each single word, minus their mean; zero for special ids. Raises
    UserError where the tokenizer splits words, or the encoder cannot be loaded.
    """
    if not isinstance(tokenizer, WordTokenizer):
        raise UserError(
            f"a {type(tokenizer).__name__} splits words, and text_model gives vectors of whole words; use --text bag "
            "or --text gru."
        )
    vectors = sentence_vectors(name, tokenizer.words)
    first = tokenizer.vocab_size - len(vectors)
    return np.concatenate([np.zeros((first, vectors.shape[1]), np.float32), vectors - vectors.mean(0)])


def mean_states(model: USER, train: CaptionDataset) -> Array:
    """(M, H): the mean of a pretrained text network's states over each caption."""
    network = model.text_encoder.states
    means = np.empty((len(train), network.width), np.float32)
    with scoring(network) as device:
        for rows, input_ids, mask in train.caption_batches(BATCH):
            states = network(input_ids.to(device), mask.to(device)).float()
            there = mask.to(device)[..., None]
            means[rows] = ((states * there).sum(1) / there.sum(1)).cpu().numpy()
    return means


@torch.no_grad()
def init_from_cca(model: USER, train: CaptionDataset) -> None:
    """Sets the weights of a model, momentum encoders included, after `USER.init_from_data`. Raises UserError where
    `cca_init` does, and for a text side without word vectors.
    """
    image, text = model.image_encoder, model.text_encoder
    own = isinstance(text.states, BagOfWords)
    words = text.states if own else text.words
    if not isinstance(words, BagOfWords):
        raise UserError(
            "init is 'cca' and the text side has no word vectors, in which a CCA could start; set model.word_residual "
            "true."
        )
    width = words.embedding.embedding_dim
    name = model.config.text_model
    cca = cca_init(
        train,
        width,
        states=None if own else mean_states(model, train),
        prior=word_prior(name, train.tokenizer) if own and name is not None else None,
        pointwise=lambda tokens: image.region_norm.pointwise(torch.from_numpy(tokens)).numpy(),
    )
    words.embedding.weight.copy_(torch.from_numpy(cca.words))
    text.linear.weight.zero_()
    text.linear.weight[:width, : cca.state_map.shape[1]] = torch.from_numpy(cca.state_map)
    text.linear.weight[:width, -width:] = torch.eye(width)  # word vectors are concatenated after the states
    text.linear.bias.zero_()
    text.linear.bias[:width] = torch.from_numpy(cca.text_bias)
    projection = image.projection
    device = projection.linear.weight.device
    weight, bias = image.region_norm.of_tokens(
        torch.from_numpy(cca.token_map).to(device), torch.from_numpy(cca.token_bias).to(device)
    )
    # dimensions beyond those of the words are zero in every caption: if they were zero in every image too, neither side
    # would ever have a gradient there
    projection.linear.weight.mul_(WAKING)
    projection.linear.bias.zero_()
    projection.linear.weight[:width], projection.linear.bias[:width] = weight, bias
    projection.out.weight.zero_()
    projection.out.bias.zero_()
    if image.guide_projection is not None:  # the closed form knows nothing of a guide
        image.guide_projection.weight.zero_()
        image.guide_projection.bias.zero_()
    model.init_momentum_encoders()
