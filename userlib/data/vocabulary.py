"""Words beyond those of the train captions, for queries about what no caption mentions.

First come the names of ImageNet's categories, which the networks behind the tokens were trained to tell apart; then the
whole words of a pretrained text encoder's vocabulary, sorted by their similarity to these names in its space, so that
words for visible things come first ("planet" is number 860 of 17,555 for MiniLM, "cathedral" 1,914, "although" 10,410).
"""

import re
from collections.abc import Sequence

import numpy as np

from userlib.data.sentences import sentence_vectors
from userlib.errors import UserError, first_line

WORD = re.compile(r"[a-z]{3,}")
NEAREST = 5  # names whose mean cosine with a word is its score


def more_words(name: str, known: Sequence[str], count: int) -> list[str]:
    """Up to `count` words that are not among the `known` ones.

    name is a transformers text encoder on the hub, or its folder. Raises UserError where it cannot be loaded.
    """
    from timm.data import ImageNetInfo  # type: ignore[attr-defined]
    from transformers import AutoTokenizer

    try:
        pieces = AutoTokenizer.from_pretrained(name).get_vocab()
    except Exception as error:  # OSError, ValueError, and those of the library that reads the file
        raise UserError(
            f"There is no vocabulary {name!r}: {first_line(error)}. Set model.text_model to a text "
            "encoder of transformers, or leave data.vocabulary out."
        ) from error
    taken = set(known)
    names = list(dict.fromkeys(WORD.findall(" ".join(ImageNetInfo().label_descriptions()).lower())))
    named = [word for word in names if word not in taken][:count]
    taken |= set(named)
    whole = [piece for piece in sorted(pieces, key=lambda piece: pieces[piece]) if WORD.fullmatch(piece)]
    rest = [word for word in whole if word not in taken]
    if not rest or len(named) == count:
        return named
    vectors = sentence_vectors(name, [*names, *rest])
    vectors -= vectors.mean(0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    likeness = vectors[len(names) :] @ vectors[: len(names)].T
    score = np.sort(likeness, axis=1)[:, -NEAREST:].mean(1)
    return named + [rest[i] for i in np.argsort(-score, kind="stable")[: count - len(named)]]
