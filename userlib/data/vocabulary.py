"""Words beyond those of the train captions, for a model that is asked for what no caption said.

First the names of ImageNet's categories, which a network behind the tokens was trained to tell apart; then the whole
words of a pretrained text encoder's vocabulary, nearest to the train captions' words first, in its space.
"""

import re
from collections.abc import Sequence

import numpy as np

from userlib.data.sentences import sentence_vectors
from userlib.errors import UserError

WORD = re.compile(r"[a-z]{3,}")
CANDIDATES = 12_000  # of the encoder's words, its first, which are the frequent ones
NEAREST = 5


def more_words(name: str, known: Sequence[str], count: int) -> list[str]:
    """Up to `count` words that are not among the `known` ones, the most frequent of which come first.

    name: of a transformers text encoder, or its folder. Raises UserError where it cannot be had.
    """
    from timm.data import ImageNetInfo  # type: ignore[attr-defined]
    from transformers import AutoTokenizer

    try:
        pieces = AutoTokenizer.from_pretrained(name).get_vocab()
    except (OSError, ValueError) as error:
        raise UserError(f"There is no vocabulary {name!r}: {str(error).strip().splitlines()[0]}") from error
    taken = set(known)
    of_categories = WORD.findall(" ".join(ImageNetInfo().label_descriptions()).lower())
    named = [word for word in dict.fromkeys(of_categories) if word not in taken][:count]
    taken |= set(named)
    whole = [piece for piece in sorted(pieces, key=lambda piece: pieces[piece]) if WORD.fullmatch(piece)]
    rest = [word for word in whole if word not in taken][:CANDIDATES]
    if not rest or len(named) == count:
        return named
    common = list(known[: max(NEAREST, len(known) // 2)])  # the rare half holds misspellings
    vectors = sentence_vectors(name, [*common, *rest])
    vectors -= vectors.mean(0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    likeness = vectors[len(common) :] @ vectors[: len(common)].T
    nearest = min(NEAREST, len(common))
    score = np.sort(likeness, axis=1)[:, -nearest:].mean(1)
    return named + [rest[i] for i in np.argsort(-score, kind="stable")[: count - len(named)]]
