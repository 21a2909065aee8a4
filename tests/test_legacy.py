"""What earlier versions wrote is read by its names of today, and may be replaced."""

import json

import pytest
import torch

from tests.reference.small import small
from userlib import legacy
from userlib.checkpoints import load_model, read_checkpoint, save_model
from userlib.config import Config
from userlib.data.captions import WordTokenizer
from userlib.errors import UserError
from userlib.files import check_folder
from userlib.model.user import Encoders
from userlib.verify import write_manifest


@pytest.fixture
def old(tmp_path):
    """A checkpoint as an earlier version wrote it: its metadata are called facts."""
    tokenizer = WordTokenizer.fit(["a dog", "two cats"])
    config = Config(model=small(vocab_size=tokenizer.vocab_size))
    folder = tmp_path / "best-00000003"
    save_model(folder, Encoders(config.model), tokenizer, config, {"data": "here"})
    for new, name in {new: old for old, new in legacy.FILES.items()}.items():
        (folder / new).rename(folder / name)
    write_manifest(folder)
    return folder


def test_an_old_checkpoint_is_read(old):
    assert (old / "facts.json").is_file() and not (old / "metadata.json").exists()
    assert set(read_checkpoint(old)[1]) == {"config", "tokenizer", "metadata"}
    loaded = load_model(old)
    assert loaded.metadata == {"data": "here"}
    save_model(old, loaded.model, loaded.tokenizer, loaded.config, loaded.metadata)
    assert json.loads((old / "metadata.json").read_text()) == {"data": "here"}
    assert not (old / "facts.json").exists()
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.model.parameters(), load_model(old).model.parameters(), strict=True)
    )


def test_a_folder_of_another_kind_is_still_refused(old):
    (old / "tensors.safetensors").rename(old / "vectors.safetensors")
    write_manifest(old)
    with pytest.raises(UserError, match="a save of another kind"):
        check_folder(old, ["config.json", "metadata.json", "tensors.safetensors", "tokenizer.json"])
