"""Word vectors from the train captions: beside a dense sum by hand, and what they are for."""

import numpy as np

from userlib.data.captions import PairData, WordTokenizer
from userlib.data.splits import Split
from userlib.data.tokens import Features
from userlib.data.wordvectors import CONTEXT_POWER, ppmi_vectors

CAPTIONS = (
    "a dog runs",
    "the dog sits",
    "a cat runs",
    "the cat sits",
    "red car",
    "blue car drives",
    "red bus",
    "bus drives",
)


def pairs() -> PairData:
    """Four pictures with two captions each; dog and cat keep the same company, car and bus too."""
    image_of = np.repeat(np.arange(4), 2)
    split = Split(
        name="train", ids=tuple("abcd"), pictures=None, captions=CAPTIONS, image_of=image_of, fingerprint="x"
    )
    tokens = np.zeros((4, 1, 2), dtype=np.float32)
    return PairData(split, Features(tokens=tokens), WordTokenizer.fit(CAPTIONS))


def plain_ppmi(given: PairData) -> np.ndarray:
    """The matrix, pair of words by pair of words."""
    size = given.tokenizer.vocab_size
    counts = np.zeros((size, len(given.split)))
    for row, picture in enumerate(given.image_of):
        for word in set(given.ids(row).tolist()) - set(given.tokenizer.special_ids):
            counts[word, picture] += 1
    together = counts @ counts.T
    word = together.sum(1)
    context = word**CONTEXT_POWER
    found = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            if together[i, j] > 0:
                found[i, j] = max(0.0, np.log(together[i, j] / (word[i] * context[j] / context.sum())))
    return found


def test_all_singular_vectors_together_give_the_matrix_back():
    """Rows of U sqrt(S), before they get equal length, are known up to sign: compare their directions' products."""
    given = pairs()
    size = given.tokenizer.vocab_size
    vectors = ppmi_vectors(given, size - 1)
    u, s, _ = np.linalg.svd(plain_ppmi(given))
    rows = u[:, : size - 1] * np.sqrt(s[: size - 1])
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-6)
    np.testing.assert_allclose(vectors @ vectors.T / 0.01 / (size - 1), unit @ unit.T, atol=1e-4)


def test_words_of_one_company_are_alike_and_special_ones_are_zero():
    given = pairs()
    vectors = ppmi_vectors(given, 4)
    one = {word: vectors[given.tokenizer.encode(word)[1]] for word in ("runs", "sits", "car", "bus")}
    alike = lambda a, b: float(one[a] @ one[b] / np.linalg.norm(one[a]) / np.linalg.norm(one[b]))
    assert alike("runs", "sits") > alike("runs", "car")
    assert alike("car", "bus") > alike("sits", "bus")
    assert not vectors[sorted(given.tokenizer.special_ids)].any()
    assert vectors.shape == (given.tokenizer.vocab_size, 4)
    assert not ppmi_vectors(given, 40)[:, given.tokenizer.vocab_size :].any()  # a width beyond the words
