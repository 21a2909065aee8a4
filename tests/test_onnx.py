"""The exported pair against torch: the same vectors for every kind of encoder, any batch and length, and a search
without torch.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.copies import write_backbone, write_clip
from tests.reference.small import shake, small, small_paper
from userlib import Index, UserError, fit, preset
from userlib.__main__ import main
from userlib.config import Config, DataConfig
from userlib.data.extractors import make_extractor
from userlib.data.tokenizers import WordTokenizer
from userlib.model.user import DualEncoder, Loaded, save_model
from userlib.search import CheckpointEncoder

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from userlib.onnx import graph  # noqa: E402
from userlib.onnx.graph import export  # noqa: E402
from userlib.onnx.runtime import OnnxEncoder  # noqa: E402

TEXTS = ["a red dog", "two cats on a long beach", "a"]
WORDS = "a red dog two cats on long beach of many words that go round and round".split()


def loaded(config, **data):
    tokenizer = WordTokenizer(WORDS)
    model = replace(config, vocab_size=tokenizer.vocab_size)
    config = Config(model=model, data=DataConfig(**{"guide": "clip-mini", **data}))
    model = shake(DualEncoder(config.model)).eval()
    model.loaded = Loaded(model, tokenizer, config, {"data": "scenes"})
    return model.loaded


KINDS = {
    "gru": small(),
    "mean": small(text="bag", pooling="mean", text_pooling="max"),
    "sge": small(enhancement="sge", text_enhancement="sge", region_scaling="standard", word_residual=True),
    "sge+cge": small(enhancement="sge+cge", add_guide=True, region_scaling="unit"),
    "bert and batch norm": small_paper(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_encoder_gives_torch_s_vectors(kind, tmp_path):
    one = loaded(KINDS[kind])
    differences = export(one, tmp_path / "pair", key={"kind": "checkpoint"}, why="of the tests")
    assert set(differences) == {"text", "image"} and max(differences.values()) < 1e-5
    pair, config = OnnxEncoder(tmp_path / "pair"), one.config.model
    with torch.inference_mode():
        for text in TEXTS:  # each alone, though together they are padded
            ids = torch.tensor([one.tokenizer.encode(text)])
            wanted = one.model.encode_text(ids, torch.ones_like(ids, dtype=torch.bool))
            assert np.allclose(pair.encode_text([text]), wanted, atol=1e-5)
        together = pair.encode_text(TEXTS)
        assert np.allclose(together, np.concatenate([pair.encode_text([t]) for t in TEXTS]), atol=1e-5)
        tokens, guide = torch.randn(2, config.regions, config.region_dim), torch.randn(2, config.guide_dim)
        wanted = one.model.encode_image(tokens, None, guide)
        assert np.allclose(pair.encode_tokens(tokens.numpy(), guide=guide.numpy()), wanted, atol=1e-5)
    with pytest.raises(UserError, match="reads tokens, not images: of the tests"):
        pair.encode_image([Image.new("RGB", (8, 8))])
    with pytest.raises(UserError, match="a text has .* tokens, and this export reads"):
        pair.encode_text(["dog " * 300])


def test_a_model_in_training_mode_is_exported_as_in_evaluation_mode(tmp_path):
    one = loaded(small(enhancement="sge", text_dropout=0.5, embed_dropout=0.5, guide_dropout=0.5))
    one.model.train()
    assert max(export(one, tmp_path / "pair", key={"kind": "checkpoint"}).values()) < 1e-5
    assert one.model.training and one.model.text_encoder.dropout.training


def test_a_text_as_long_as_the_export_reads_is_read_and_a_longer_one_is_not(tmp_path):
    one = loaded(small())
    export(one, tmp_path / "pair", key={"kind": "checkpoint"})
    pair = OnnxEncoder(tmp_path / "pair")
    longest = pair.about["longest"]
    fits = "dog " * (longest - 2)  # between start and end
    ids = torch.tensor([one.tokenizer.encode(fits)])
    assert ids.shape == (1, longest)
    with torch.inference_mode():
        wanted = one.model.encode_text(ids, torch.ones_like(ids, dtype=torch.bool))
    assert np.allclose(pair.encode_text([fits]), wanted, atol=1e-5)
    with pytest.raises(
        UserError, match=f"a text has {longest + 1} tokens, and this export reads at most {longest}"
    ):
        pair.encode_text(["a red dog", fits + "dog"])


def test_a_graph_that_differs_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(graph.RankTable, "forward", lambda self, vectors, mask=None: vectors.mean(1))
    with pytest.raises(UserError, match=r"text.onnx differs from torch by .* and was not kept"):
        export(loaded(small()), tmp_path / "pair", key={})
    assert not (tmp_path / "pair").exists()


@pytest.fixture(scope="module")
def with_pixels(tmp_path_factory):
    """A folder of a saved model on a timm network's tokens with an open_clip guide, and its encoder."""
    place = tmp_path_factory.mktemp("pixels")
    weights = write_backbone(place / "backbone")
    clip = write_clip(place / "clip")
    width = make_extractor("timm:test_resnet", weights=weights).token_shape[1]
    config = small(region_dim=width, guide_dim=12, regions=None, enhancement="sge+cge", queue_size=None)
    one = loaded(
        config, tokens="timm:test_resnet", token_weights=str(weights), guide=f"open_clip:local-dir:{clip}"
    )
    save_model(place / "model", one.model, one.tokenizer, one.config, {"data": "photos"})
    return place / "model", CheckpointEncoder(place / "model")


def photos(folder, count=6):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        blocks = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((70 + 9 * i, 64), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def test_from_images_and_searched_without_torch(with_pixels, tmp_path):
    model, encoder = with_pixels
    folder = photos(tmp_path / "photos")
    differences = export(
        encoder.loaded,
        tmp_path / "pair",
        key=encoder.cache_key(),
        extractors=(encoder.tokens, encoder.guide),
        int8=True,
    )
    assert set(differences) == {"text", "image", "pixels"}
    images = [Image.open(file) for file in sorted(folder.iterdir())]
    assert np.allclose(
        OnnxEncoder(tmp_path / "pair").encode_image(images), encoder.encode_image(images), atol=1e-4
    )
    index = Index.build(folder, encoder, progress=False)
    index.save(tmp_path / "index")
    wanted = [hit.id for hit in index.search("two cats", 3)]
    code = (
        "import sys, json\nfrom PIL import Image\nfrom userlib.search import Index\n"
        "from userlib.onnx.runtime import OnnxEncoder\n"
        f"index = Index.load({str(tmp_path / 'index')!r}, OnnxEncoder({str(tmp_path / 'pair')!r}))\n"
        "hits = [hit.id for hit in index.search('two cats', 3)]\n"
        f"like = index.similar(Image.open({str(folder / '2.png')!r}), 1)[0].id\n"
        f"changes = index.update({str(folder)!r}, progress=False)\n"
        "print(json.dumps([hits, like, str(changes), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [wanted, "2.png", "6 kept", False]
    with pytest.raises(UserError, match="made with another model"):
        Index.load(tmp_path / "index", OnnxEncoder(tmp_path / "pair", int8=True))
    small_ones = OnnxEncoder(tmp_path / "pair", int8=True).encode_image(images)
    assert 0 < np.abs(small_ones - encoder.encode_image(images)).max() < 0.2
    (tmp_path / "pair" / "text.onnx").write_bytes(b"other bytes")
    with pytest.raises(UserError, match=r"text\.onnx is damaged"):
        OnnxEncoder(tmp_path / "pair")
    with pytest.raises(UserError, match="is no exported model"):
        OnnxEncoder(tmp_path / "photos")


def test_the_command_compares_rsum_and_times(tmp_path, monkeypatch, capsys, cache):
    monkeypatch.chdir(tmp_path)
    scenes = preset("scenes")
    config = replace(
        scenes,
        data=replace(scenes.data, sizes={"train": 96, "val": 20, "test": 40}),
        training=replace(scenes.training, steps=6, batch_size=32),
    )
    fit(config, out="run", progress=False)
    assert main(["export", "--checkpoint", "run", "--out", "pair", "--int8", "--latency", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert abs(result["rsum"]["onnx"] - result["rsum"]["torch"]) <= 0.1 and result["rsum"]["torch"] > 0
    assert max(result["differences"].values()) <= 1e-4 and set(result["rsum"]) == {"torch", "onnx", "int8"}
    for times in result["latency_ms"].values():
        assert set(times) == {"torch", "onnx", "int8"} and min(times.values()) > 0
    assert main(["export", "--checkpoint", "run", "--out", "plain", "--split", "none"]) == 0
    said = capsys.readouterr().out
    assert "the largest difference from torch" in said and "rSum" not in said
    assert main(["export", "--checkpoint", "run", "--out", "run"]) == 2


def test_without_the_package_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install -e \"\.\[onnx\]\""):
        export(loaded(small()), tmp_path / "pair", key={})


@pytest.mark.parametrize("numbers", [[0.0, float("nan")], [float("nan"), 0.0], [float("inf")], [1.0]])
def test_vectors_that_are_not_torch_s_are_refused(numbers, monkeypatch):
    """In any batch, and numbers that are none."""
    answers = iter(numbers)
    session = SimpleNamespace(run=lambda names, feeds: [np.full((2, 3), next(answers), np.float32)])
    monkeypatch.setattr(graph, "session", lambda file: session)
    batches = [{"x": torch.zeros(2, 3)} for _ in numbers]
    with pytest.raises(UserError, match="differs from torch by (nan|inf|1.0)"):
        graph.compare(torch.nn.Identity(), batches, Path("text.onnx"))
