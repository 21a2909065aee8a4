"""Why an image was found: SGE's and CGE's attention over its regions, and the similarity of each word of the query with
each region.

Words and regions are compared in the joint space, after enhancement and projection and before pooling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from userlib.data.tokenizers import WordTokenizer, words_of

if TYPE_CHECKING:
    from userlib.model.user import DualEncoder
    from userlib.search.encoders import CheckpointEncoder

Array = NDArray[np.float32]
GUIDES = {"self": "SGE", "clip": "CGE", "self weights": "SGE's guide"}


@dataclass(frozen=True, eq=False)
class Explanation:
    """grid (h, w); attention: {name: (R,), which sum to 1}; words: the W words of the query; similarity (W, R): cosines
    of words and regions.
    """

    grid: tuple[int, int]
    attention: dict[str, Array]
    words: tuple[str, ...]
    similarity: Array


# Words that say nothing about what an image shows.
FUNCTION_WORDS = frozenset(
    "a an and are at behind by for from has have her his in is it its near next of on over the their there "
    "this to under while with".split()
)
HEIGHTS, WIDTHS = ("top", "", "bottom"), ("left", "", "right")


def reason(explanation: Explanation) -> str:
    """A sentence on the words of the query that match an image best, by the highest cosine of each with a region; ""
    where there are no words. Function words are left out where there are others.
    """
    best: dict[str, tuple[float, int]] = {}
    for word, row in zip(explanation.words, explanation.similarity, strict=True):
        best.setdefault(word, (float(row.max()), int(row.argmax())))
    ranked = sorted(shown_words(tuple(best)), key=lambda word: -best[word][0])
    if not ranked:
        return ""
    first, last = ranked[:3], ranked[3:][-1:]
    told = [f"“{word}” {best[word][0]:.2f} ({place_of(best[word][1], explanation.grid)})" for word in first]
    least = f"; least: “{last[0]}” {best[last[0]][0]:.2f}" if last else ""
    return f"Words that match, by cosine: {', '.join(told)}{least}."


def shown_words(words: Sequence[str]) -> list[str]:
    """The words of a query that are shown, each once: function words are left out where there are others."""
    once = list(dict.fromkeys(words))
    return [word for word in once if word not in FUNCTION_WORDS] or once


def place_of(region: int, grid: tuple[int, int]) -> str:
    """A region's place in the image in words: "top left", "middle"."""
    row, column = divmod(region, grid[1])
    words = (HEIGHTS[int(3 * (row + 0.5) / grid[0])], WIDTHS[int(3 * (column + 0.5) / grid[1])])
    return " ".join(filter(None, words)) or "middle"


@torch.inference_mode()
def explain(encoder: "CheckpointEncoder", picture: Image.Image, text: str = "") -> Explanation | None:
    """The model's attention in an image, and the similarity of each word of `text` with each region.

    None where the tokens form no grid that could be laid over the image. Words are those of a word vocabulary; for
    other tokenizers there are none.
    """
    grid = encoder.tokens.grid
    if grid is None:
        return None
    tokens, guide = encoder.tokens([picture])
    if encoder.guide is not encoder.tokens:
        guide = None if encoder.guide is None else encoder.guide([picture])[1]
    model = encoder.loaded.model
    attention = {
        GUIDES[name]: (a[0] / a[0].sum()).float().cpu().numpy()
        for name, a in model.attention(tokens, None, guide).items()
    }
    tokenizer = encoder.loaded.tokenizer
    words = words_of(text) if isinstance(tokenizer, WordTokenizer) else []
    similarity = np.zeros((0, tokens.shape[1]), np.float32)
    if words:
        ids = torch.tensor([tokenizer.encode(" ".join(words))])
        vectors = word_vectors(model, ids, torch.ones_like(ids, dtype=torch.bool))[
            0, 1:-1
        ]  # no start, no end
        similarity = cosines(vectors, region_vectors(model, tokens, guide)[0]).cpu().numpy()
    return Explanation(grid, attention, tuple(words), similarity)


def word_vectors(model: "DualEncoder", input_ids: Tensor, mask: Tensor) -> Tensor:
    """input_ids (B, W), mask (B, W) -> (B, W, E): the words' vectors in the text encoder before pooling."""
    text = model.text_encoder
    vectors: Tensor = text.enhancement(text.linear(text.states(input_ids, mask)), mask)
    return vectors


def region_vectors(model: "DualEncoder", tokens: Tensor, guide: Tensor | None) -> Tensor:
    """tokens (B, R, D), guide (B, G) -> (B, R, E): the regions' vectors in the image encoder before pooling."""
    image = model.image_encoder
    vectors: Tensor = image.projection(image.enhancement(image.to_regions(tokens), None, guide))
    return vectors


def cosines(words: Tensor, regions: Tensor) -> Tensor:
    """words (W, E), regions (R, E) -> cosines (W, R)."""
    return F.normalize(words.float(), dim=-1) @ F.normalize(regions.float(), dim=-1).T


def share_on(weights: Array, grid: tuple[int, int], mask: NDArray[np.bool_]) -> float:
    """The share of attention weights (R,) inside a mask (H, W), with each weight spread evenly over its region."""
    height, width = mask.shape
    rows = np.arange(height) * grid[0] // height
    columns = np.arange(width) * grid[1] // width
    fine = weights.reshape(grid)[np.ix_(rows, columns)]
    return float(fine[mask].sum() / fine.sum())
