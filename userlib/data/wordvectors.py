"""Word vectors to start from, made from the train captions alone.

Two words are alike when they occur beside the same words in the captions of a picture. The matrix of
positive pointwise mutual information (PPMI) says how much more often than by chance each pair does; its
singular vectors, cut to the wanted width, are the word vectors (Levy, Goldberg and Dagan, TACL 2015: context
counts to the power .75, singular values to the power 1/2).
"""

import numpy as np

from userlib.data.captions import PairData

CONTEXT_POWER = 0.75
NORM = 0.1  # of a row, times sqrt(width): the size of a random start with deviation .1


def ppmi_vectors(pairs: PairData, width: int) -> np.ndarray:
    """One row for each word of the tokenizer -> (V, width) float32; rows of words that never occur are zero.

    A vocabulary smaller than the width leaves the last columns zero.
    """
    from scipy import sparse
    from sklearn.utils.extmath import randomized_svd

    size = pairs.tokenizer.vocab_size
    captions = [np.unique(pairs.ids(row)) for row in range(len(pairs))]
    special = np.array(sorted(pairs.tokenizer.special_ids))
    captions = [ids[~np.isin(ids, special)] for ids in captions]
    words = np.concatenate(captions)
    pictures = np.repeat(pairs.image_of, [len(ids) for ids in captions])
    counts = sparse.csr_matrix((np.ones(len(words)), (words, pictures)), shape=(size, len(pairs.split)))
    together = (counts @ counts.T).tocoo()  # (V, V): how often two words meet in a picture's captions
    word = np.asarray(together.sum(1)).ravel()
    context = word**CONTEXT_POWER
    chance = word[together.row] * context[together.col] / context.sum()
    information = np.log(together.data / chance).clip(min=0)
    ppmi = sparse.csr_matrix((information, (together.row, together.col)), shape=(size, size))
    kept = min(width, size - 1)
    left, values, _ = randomized_svd(ppmi, kept, random_state=0)
    vectors = left * np.sqrt(values)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-6)  # smaller is rounding
    found = np.zeros((size, width), dtype=np.float32)
    found[:, :kept] = unit * (NORM * np.sqrt(width))
    return found
