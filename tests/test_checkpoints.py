"""Bundles: what was written comes back, and anything else is an error that names the file and the remedy."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.reference.small import make_batch, small
from userlib.checkpoints import (
    TENSORS,
    checkpoint_path,
    load_state_strict,
    prune,
    read_checkpoint,
    write_checkpoint,
)
from userlib.config import Config, ModelConfig
from userlib.data.tokenizers import WordTokenizer
from userlib.errors import UserError
from userlib.files import sha256_file, write_checksummed, write_json
from userlib.model.user import USER, DualEncoder, load_model, save_model
from userlib.verify import write_manifest

FILES = (TENSORS, "config.json", "metadata.json", "tokenizer.json", "manifest.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model and the checkpoint that holds it."""
    torch.manual_seed(0)
    model = DualEncoder(small(enhancement="sge")).eval()
    tokenizer = WordTokenizer([f"w{i}" for i in range(25)])
    folder = tmp_path_factory.mktemp("checkpoints") / "best-00000003"
    save_model(folder, model, tokenizer, Config(model=model.config), {"data": "here"})
    return model, folder


@pytest.fixture
def copied(made, tmp_path) -> Path:
    return Path(shutil.copytree(made[1], tmp_path / "copy"))


def resign(folder: Path) -> None:
    """Makes the checksums right again, as someone hostile would."""
    write_manifest(folder)


def test_a_model_comes_back(made):
    model, folder = made
    loaded = load_model(folder)
    batch = make_batch(model.config, [0, 1])
    assert not loaded.model.training
    assert torch.equal(loaded.model.encode_image(batch.tokens), model.encode_image(batch.tokens))
    vectors = loaded.model.encode_text(batch.input_ids, batch.attention_mask)
    assert torch.equal(vectors, model.encode_text(batch.input_ids, batch.attention_mask))
    assert loaded.config.model == model.config
    assert loaded.metadata == {"data": "here"}
    assert loaded.tokenizer.encode("w3")[1] == 8


def test_an_inference_bundle_holds_no_queue_and_no_copy(tmp_path):
    model = USER(small())
    save_model(tmp_path / "b", model, WordTokenizer(["a"]), Config(model=model.config), {})
    names = read_checkpoint(tmp_path / "b")[0]
    assert all(name.startswith(("image_encoder.", "text_encoder.")) for name in names)
    assert load_model(tmp_path / "b").model.image_encoder is not None


def test_loading_leaves_the_random_numbers_alone(made):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    load_model(made[1])
    assert torch.equal(torch.rand(3), wanted)


def test_half_precision_halves_the_file_and_moves_little(made, tmp_path):
    model, folder = made
    save_model(tmp_path / "half", model, WordTokenizer(["a"] * 25), Config(model=model.config), {}, half=True)
    weights = read_checkpoint(tmp_path / "half")[0]
    assert all(v.dtype == torch.float16 for v in weights.values() if v.is_floating_point())
    assert (tmp_path / "half" / TENSORS).stat().st_size < 0.7 * (folder / TENSORS).stat().st_size
    loaded = load_model(tmp_path / "half").model
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    batch = make_batch(model.config, [0, 1])
    vectors, wanted = loaded.encode_image(batch.tokens), model.encode_image(batch.tokens)
    assert 0 < float((vectors - wanted).abs().max()) < 5e-3


def test_half_precision_leaves_counts_whole(tmp_path):
    """BatchNorm counts its batches; a half cannot count beyond 2,048."""
    model = DualEncoder(small(norm="batch", enhancement="sge"))
    counts = {name for name, value in model.state_dict().items() if not value.is_floating_point()}
    for name, value in model.named_buffers():
        if name in counts:
            value.fill_(4097)
    save_model(tmp_path / "b", model, WordTokenizer(["a"]), Config(model=model.config), {}, half=True)
    weights = read_checkpoint(tmp_path / "b")[0]
    assert counts
    assert {name for name, value in weights.items() if value.dtype == torch.int64} == counts
    loaded = load_model(tmp_path / "b").model.state_dict()
    assert all(int(loaded[name]) == int(weights[name]) == 4097 for name in counts)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_and_the_file_named(name, copied):
    path = copied / name
    content = path.read_bytes()
    draw = random.Random(name)
    for _ in range(25):
        at, bit = draw.randrange(len(content)), draw.randrange(8)
        changed = bytearray(content)
        changed[at] ^= 1 << bit
        path.write_bytes(changed)
        with pytest.raises(UserError) as error:
            load_model(copied)
        assert str(path) in str(error.value)
        if name != "manifest.json":
            assert f"{path} is damaged" in str(error.value)
        assert f"Delete {copied}" in str(error.value)
    path.write_bytes(content)
    load_model(copied)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_empty_file_is_named(name, copied):
    path = copied / name
    path.write_bytes(b"")
    with pytest.raises(UserError, match=name):
        load_model(copied)
    path.unlink()
    with pytest.raises(UserError, match=name):
        load_model(copied)


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_another_format_is_refused_by_name(version, copied):
    manifest = json.loads((copied / "manifest.json").read_text())
    write_json(copied / "manifest.json", {**manifest, "format": version})
    with pytest.raises(UserError, match=f"has format {version!r} and this version reads 1 and 2.*newer"):
        load_model(copied)


def test_a_bundle_of_format_1_is_read(copied):
    """It had no checksum; one that says it is of format 2 must have it."""
    sums = json.loads((copied / "manifest.json").read_text())["sha256"]
    write_json(copied / "manifest.json", {"format": 1, "sha256": sums})
    assert load_model(copied).metadata == {"data": "here"}
    write_json(copied / "manifest.json", {"format": 2, "sha256": sums})
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        load_model(copied)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.json",
        "/etc/passwd",
        "sub/tensors.safetensors",
        "..",
        "x.pkl",
        "x.json\n",
        "x.json/../y.json",
        "",
    ],
)
def test_a_manifest_that_names_files_elsewhere(name, copied):
    (copied.parent / "outside.json").write_text("{}")
    write_checksummed(
        copied / "manifest.json", {"sha256": {name: sha256_file(copied.parent / "outside.json")}}
    )
    with pytest.raises(UserError, match="which is no (plain file name|file of a checkpoint)"):
        load_model(copied)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "sha256": []}', b"[" * 10**5]
)
def test_a_hostile_manifest(content, copied):
    (copied / "manifest.json").write_bytes(content)
    with pytest.raises(UserError):
        load_model(copied)


def test_hostile_files_with_right_checksums(copied):
    kept = {name: (copied / name).read_bytes() for name in FILES}
    huge = (2**60).to_bytes(8, "little")
    cases = [
        (TENSORS, b"no tensors"),
        (TENSORS, huge + b"{}"),
        ("config.json", b"[" * 10**5 + b"]" * 10**5),
        ("config.json", b'{"model": {"__class__": "x"}}'),
        ("config.json", b"3"),
    ]
    for name, content in cases:
        (copied / name).write_bytes(content)
        resign(copied)
        with pytest.raises(UserError):
            load_model(copied)
        (copied / name).write_bytes(kept[name])


def test_weights_that_do_not_fit_are_named(copied):
    tensors, _ = read_checkpoint(copied)
    name = sorted(tensors)[0]
    for changed, said in (
        ({**tensors, name: torch.zeros(2, 7)}, rf"'{name}' is \(2, 7\) there"),
        ({**tensors, name: tensors[name].unsqueeze(0)}, rf"'{name}' is \(1, "),
        ({k: v for k, v in tensors.items() if k != name}, f"'{name}' is only in the model"),
        ({**tensors, "image_encoder.other": torch.zeros(1)}, "other' is only in the checkpoint"),
    ):
        save_file(changed, copied / TENSORS)
        resign(copied)
        with pytest.raises(UserError, match=said):
            load_model(copied)


def test_a_queue_of_another_size_does_not_fit():
    state = USER(small(queue_size=64)).state_dict()
    with pytest.raises(UserError, match=r"queue\.enqueued_at' is \(64,\) there and \(32,\) here|64.*32"):
        load_state_strict(USER(small(queue_size=32)), state, where="runs/x")


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="is no checkpoint"):
        load_model(tmp_path)
    with pytest.raises(UserError, match=r"There is no folder .*gone.*--out"):
        load_model(tmp_path / "gone")
    write_checkpoint(tmp_path / "b", {"x": torch.zeros(1)}, {"state": {}})
    with pytest.raises(UserError, match="not a checkpoint for inference"):
        load_model(tmp_path / "b")


def test_run_json_names_the_checkpoint(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "best-00000003")
    write_json(tmp_path / "run.json", {"best": "best-00000003", "last": "../../etc"})
    assert load_model(tmp_path).config.model == made[0].config
    for which in ("last", "other"):
        with pytest.raises(UserError, match=f"names no {which} checkpoint"):
            checkpoint_path(tmp_path, which)


def test_cleaning_keeps_what_is_named_and_what_is_not_ours(tmp_path):
    names = (
        "step-00000001",
        "step-00000002",
        "best-00000001",
        "best-00000009",
        ".step-00000003.0123abcd.part",
        ".mine.old",
        "step-00000007",
        "step-mine",
        "notes",
    )
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000007" / "why.txt").write_text("the best so far")
    write_json(tmp_path / "run.json", {"last": "step-00000002", "best": "best-00000001"})
    prune(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "run.json", "step-00000002", "best-00000001", "step-00000007", "step-mine", "notes", ".mine.old",
    }  # fmt: skip


def test_a_bundle_replaces_an_older_one_whole(tmp_path):
    for value in (1.0, 2.0):
        write_checkpoint(tmp_path / "b", {"x": torch.tensor(value)}, {"about": {"value": value}})
    tensors, documents = read_checkpoint(tmp_path / "b")
    assert float(tensors["x"]) == 2.0 and documents == {"about": {"value": 2.0}}
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_no_space_left_keeps_the_older_one(tmp_path, monkeypatch):
    import errno

    write_checkpoint(tmp_path / "b", {"x": torch.tensor(1.0)}, {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("userlib.checkpoints.write_json", full)
    with pytest.raises(UserError, match="No space left"):
        write_checkpoint(tmp_path / "b", {"x": torch.tensor(2.0)}, {"about": {}})
    assert float(read_checkpoint(tmp_path / "b")[0]["x"]) == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_the_defaults_of_a_model_are_json(tmp_path):
    write_json(tmp_path / "x.json", {"model": ModelConfig().embed_dim})
