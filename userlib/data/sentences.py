"""Sentence vectors: the mean of a pretrained text encoder's last hidden states over a text's pieces."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from userlib.data.network import hub_access
from userlib.errors import UserError, first_line

BATCH = 256  # captions
LONGEST = 128  # pieces that are read of a text


@torch.inference_mode()
def sentence_vectors(name: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """M texts -> (M, H) by a transformers encoder, given as a folder or a name on the hub.

    Raises UserError where it cannot be loaded.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        with hub_access(f"the text encoder {name!r}"):
            tokenizer = AutoTokenizer.from_pretrained(name)
            network = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32).eval()
        width = int(network.config.hidden_size)
    except UserError:
        raise
    except Exception as error:  # OSError, ValueError, and those of the libraries that read the files
        raise UserError(
            f"The text encoder {name!r} cannot be loaded ({first_line(error)}). Give a folder with "
            "config.json, model.safetensors and tokenizer.json, or connect to the network once."
        ) from error
    vectors = np.empty((len(texts), width), np.float32)
    order = np.argsort([len(text) for text in texts], kind="stable")  # similar lengths need little padding
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        inputs = tokenizer(
            [texts[row] for row in rows],
            padding=True,
            truncation=True,
            max_length=LONGEST,
            return_tensors="pt",
        )
        states = network(**inputs).last_hidden_state
        there = inputs["attention_mask"][..., None]
        vectors[rows] = ((states * there).sum(1) / there.sum(1)).numpy()
    return vectors
