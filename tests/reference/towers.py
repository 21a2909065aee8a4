"""Tiny text encoders of transformers with random weights, in folders as published ones have them."""

import json
from pathlib import Path

import torch

from tests.data.copies import WORDS, write_bert

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
KINDS = {
    "bert": {},
    "roberta": {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    "mpnet": {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    "modernbert": {"pad_token_id": 0, "global_attn_every_n_layers": 2, "local_attention": 8},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    "longformer": {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "attention_window": 4},
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24},
}
OWN_MASKS = ("deberta-v2", "longformer")  # take no mask that is ready, so that the host waits for theirs


def write_encoder(folder: Path, kind: str = "bert", *, half: bool = False, **changes) -> Path:
    """config.json, model.safetensors, and a vocabulary: WordPiece, or byte pairs where the kind has them."""
    from transformers import AutoConfig, AutoModel

    folder.mkdir(parents=True, exist_ok=True)
    size = (
        write_byte_pairs(folder) if kind in ("roberta", "modernbert", "longformer") else write_pieces(folder)
    )
    sizes = {} if kind == "distilbert" else SIZES
    settings = {**sizes, **KINDS[kind], "vocab_size": size, "max_position_embeddings": 140} | changes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoModel.from_config(AutoConfig.for_model(kind, **settings))
    (network.half() if half else network).save_pretrained(folder)
    return folder


def write_pieces(folder: Path) -> int:
    write_bert(folder)
    return len((folder / "vocab.txt").read_text().split())


def write_byte_pairs(folder: Path) -> int:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    special = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    pairs = ByteLevelBPETokenizer()
    pairs.train_from_iterator([" ".join(WORDS)] * 3, vocab_size=300, special_tokens=list(special.values()))
    from tokenizers.processors import RobertaProcessing

    pairs.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    named = {f"{name}_token": token for name, token in special.items()}
    PreTrainedTokenizerFast(
        tokenizer_object=pairs._tokenizer, cls_token="<s>", sep_token="</s>", model_max_length=128, **named
    ).save_pretrained(folder)
    assert json.loads((folder / "tokenizer_config.json").read_text())
    return pairs.get_vocab_size()
