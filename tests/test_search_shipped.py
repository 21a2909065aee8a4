"""Search without a named model takes one that comes with the project, and says so."""

import numpy as np
import pytest
from PIL import Image

from tests.data.copies import write_backbone
from userlib import shipped
from userlib.__main__ import main
from userlib.config import Config, DataConfig, ModelConfig
from userlib.data.extractors import make_extractor
from userlib.data.tokenizers import WordTokenizer
from userlib.model.user import DualEncoder, save_model


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A small model in the place of photos-mini; none in the place of the demo's."""
    weights = write_backbone(tmp_path / "backbone")
    tokenizer = WordTokenizer.fit(["a red dog"])
    model = ModelConfig(
        region_dim=make_extractor("timm:test_resnet", weights=weights).token_shape[1], embed_dim=8, text_width=6,
        word_width=5, vocab_size=tokenizer.vocab_size, queue_size=None,
    )  # fmt: skip
    config = Config(data=DataConfig(tokens="timm:test_resnet", token_weights=str(weights)), model=model)
    save_model(
        tmp_path / "assets" / "photos-mini", DualEncoder(model), tokenizer, config, {"data": "flickr8k"}
    )
    monkeypatch.setattr(shipped, "ASSETS", tmp_path / "assets")


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"photos/{i}.png")
    return str(tmp_path / "photos")


def test_photos_are_searched_with_photos_mini_which_says_what_is_better(stand_in, photos, capsys):
    assert main(["search", "--data", photos, "--query", "a red dog"]) == 0
    said = capsys.readouterr().out
    assert "photos-mini" in said and "non-commercial" in said and "--model ViT-B-32" in said
    assert {f"{i}.png" for i in range(3)} == {line.split()[2] for line in said.splitlines() if ".png" in line}


def test_json_keeps_the_sentence_out_of_the_hits(stand_in, photos, capsys):
    assert main(["search", "--json", "--data", photos, "--query", "a red dog"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("[") and "photos-mini" in said.err


def test_a_named_model_is_taken_without_a_word_on_the_other(stand_in, photos, tmp_path, capsys):
    own = str(tmp_path / "assets" / "photos-mini")
    assert main(["search", "--checkpoint", own, "--data", photos, "--query", "a red dog"]) == 0
    assert "No model is named" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--data", "scenes"], "demo"),  # the stand-in of photos is not taken for drawn scenes
        ([], "nothing to search"),
        (["--data", "x", "--checkpoint", "a", "--model", "b"], "give only one of them"),
    ],
)
def test_what_cannot_be_searched_is_told(stand_in, words, said, capsys):
    assert main(["search", "--query", "a dog", *words]) == 2
    assert said in capsys.readouterr().err


def test_an_index_alone_is_searched_with_the_model_that_its_data_had(
    stand_in, photos, tmp_path, capsys, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        "userlib.search.command.model_for", lambda data: asked.append(data) or shipped.model_for(None)
    )
    index = str(tmp_path / "index")
    assert main(["search", "--data", photos, "--index", index, "--query", "red"]) == 0
    assert main(["search", "--index", index, "--query", "red"]) == 0
    assert asked == [photos, photos]
    assert main(["search", "--index", str(tmp_path / "none"), "--query", "red"]) == 2
    assert "there is no index" in capsys.readouterr().err
