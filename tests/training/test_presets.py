"""The presets for photos from files to table, at the published shapes: 36 regions of 2,048 numbers, bert-base, and
ViT-B/32. Weights are drawn at random; images and steps are few.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.copies import WORDS, write_hub, write_scan
from userlib.__main__ import main
from userlib.config import Config, to_json
from userlib.evaluation import bootstrap, embed, fold_average, ranks, recalls
from userlib.presets import preset
from userlib.training import Run, fit, prepare

COUNTS = {"train": 4, "val": 3, "test": 4}


def write_bert_base(folder: Path) -> Path:
    """bert-base-uncased as it is built, with random weights and a vocabulary of its size."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *dict.fromkeys(WORDS)]
    rest = [f"word{i}" for i in range(30_522 - len(special))]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(special + rest) + "\n")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(), add_pooling_layer=False).save_pretrained(folder)
    return folder


def write_vit_b_32(folder: Path) -> Path:
    """open_clip's ViT-B-32 with random weights, as a local-dir, in half precision."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir()
    config = open_clip.get_model_config("ViT-B-32")
    mean = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": mean}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32", pretrained=None, precision="fp32")
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


def two_steps(config: Config) -> tuple[Run, dict[str, float]]:
    """Two steps of four pairs, the evaluation on val, and the report on test."""
    training = replace(config.training, steps=2, batch_size=4, precision="fp32")
    prepared = prepare(replace(config, training=training), progress=False)
    run = fit(prepared, progress=False)
    assert run.finished and run.rows[-1]["step"] == 2
    assert np.isfinite(run.rows[-1]["loss"]) and run.rows[-1]["queue_loss"] == run.rows[-1]["queue_loss"]
    assert prepared.test is not None
    images, captions = embed(run.encoders, prepared.test)
    assert images.shape == (4, 1024) and captions.shape == (20, 1024)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    ranked = ranks(images, captions, prepared.test.caption_to_image)
    assert bootstrap(ranked)["rsum"].value == pytest.approx(recalls(ranked).rsum)
    fold_average(images, captions, prepared.test.caption_to_image, size=2)
    return run, run.rows[-1]


def test_the_presets_of_the_paper(tmp_path, cache):
    """One test for both: bert-base, its momentum copy and its optimizer take 3 GB, once."""
    bert = write_bert_base(tmp_path / "bert-base")
    folder = write_scan(tmp_path / "precomp", COUNTS, regions=36, width=2048)
    for name, keys in (("paper-flickr30k", 2048), ("paper-coco", 4096)):
        config = preset(name)
        data = replace(config.data, data=str(folder))
        run, row = two_steps(replace(config, data=data, model=replace(config.model, text_model=str(bert))))
        model = run.model
        image = sum(p.numel() for p in run.encoders.image_encoder.parameters())
        text = sum(p.numel() for p in run.encoders.text_encoder.parameters())
        assert (image, text) == (12_085_225, 109_691_808)
        assert model.queue.images.shape in ((keys, 1024), (1024, keys))
        assert int((model.queue.ids >= 0).sum()) == 2 * 4
        assert row["scale_self"] == 1 and "scale_clip" not in row
        del run, model


def test_clip_patches(tmp_path, cache):
    """Tokens and guide of a ViT-B/32 from images, its text tower fine-tuned, SGE and CGE."""
    name = f"open_clip:local-dir:{write_vit_b_32(tmp_path / 'vit-b-32')}"
    config = preset("clip-patches")
    folder = write_hub(tmp_path / "flickr", COUNTS)
    data = replace(config.data, data=str(folder), tokens=name, guide=name)
    text = replace(config.model, text_model=name.removeprefix("open_clip:"))
    run, row = two_steps(replace(config, data=data, model=text))
    model = run.config.model
    assert (model.regions, model.region_dim, model.guide_dim, model.vocab_size) == (49, 768, 512, 49_408)
    assert {"scale_self", "scale_clip"} <= set(row)
    kept = sorted(path for path in (cache / "tokens").rglob("array.npy"))
    assert len(kept) == 6  # tokens and guide of three splits
    tower = dict(run.model.text_encoder.named_parameters())
    before = load_half(tmp_path / "vit-b-32")
    name = "token_embedding.weight"
    assert not torch.equal(tower[f"states.clip.{name}"].detach(), before[name])


def load_half(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {k: v.float() for k, v in load_file(folder / "open_clip_model.safetensors").items()}


@pytest.mark.soak
@pytest.mark.parametrize("name", ["paper-flickr30k", "paper-coco"])
def test_the_command_of_the_paper_presets_and_evaluation_after_it(name, tmp_path, cache, capsys):
    """With checkpoints: 2.4 GB are written."""
    bert = write_bert_base(tmp_path / "bert-base")
    folder = write_scan(tmp_path / "precomp", COUNTS, regions=36, width=2048)
    flags = ["--data", str(folder), "--steps", "2", "--batch-size", "4", "--set", f"model.text_model={bert}"]
    out = tmp_path / "run"
    assert main(["train", "--preset", name, *flags, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["model"]["queue_size"] in (2048, 4096)
    assert main(["evaluate", "--checkpoint", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["split"] == "test"


def test_the_presets_are_json():
    for name in ("paper-flickr30k", "paper-coco", "clip-patches"):
        assert json.loads(json.dumps(to_json(preset(name))))["model"]["embed_dim"] == 1024
