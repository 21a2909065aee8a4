"""Notes on hits that may mean nothing: on images unlike those of training, unknown words, and long queries."""

from collections.abc import Callable, Sequence

import numpy as np

from userlib.data.words import Tokenizer, words_of
from userlib.files import shown
from userlib.search.exact import Array

USUAL = 0.005  # share of images beyond the limit among images like those of the training
SHOWN = 20  # unknown words that are listed at most


def far_images(distances: Array, trained_on: str, remedy: str, *, usual: float = USUAL) -> str | None:
    """A note on how many images are beyond the limit of the training images; None where no more are than usual.

    distances (N,) are in units of that limit, NaN where unknown; usual: the share beyond it that needs no note.
    """
    measured = distances[~np.isnan(distances)]
    far = int((measured > 1).sum())
    if far <= int(usual * len(measured)):
        return None
    if len(measured) == 1:
        what = "the image here is unlike them, so that finding it means little"
    else:
        share = f"{far:,} of {len(measured):,} images here ({100 * far / len(measured):.0f} %)"
        what = f"{share} {'is' if far == 1 else 'are'} unlike them, so that finding those means little"
    return f"This model was trained on {trained_on} alone: {what}. {remedy}"


def cut_query(text: str, tokenizer: Tokenizer) -> str | None:
    """A note on a query of more tokens than the text encoder can read; None for a shorter one."""
    if tokenizer.longest is None or not tokenizer.is_cut(text):
        return None
    return (
        f"The query has more than the {tokenizer.longest} tokens that the text tower reads; what follows is not read. "
        "Write a shorter one."
    )


def notes_on(text: str, unknown: Callable[[str], Sequence[str]]) -> tuple[str, ...]:
    """Notes on the unknown words of a query; unknown(text) returns those of a text."""
    words = list(dict.fromkeys(words_of(text) or text.split()))
    strange = [word for word in words if unknown(word)]
    listed = ", ".join(shown(word) for word in strange[:SHOWN])
    listed += f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
    if strange and len(strange) == len(words):
        return (f"The model knows no word of the query ({listed}): these hits are arbitrary.",)
    if strange:
        return (f"Words unknown to the model, which do not count: {listed}.",)
    return ()
