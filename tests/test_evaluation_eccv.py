"""ECCV Caption and CxC through a stand-in for the package, which is never required."""

import json
import sys
import types

import numpy as np
import pytest

from tests.data.copies import karpathy, write_coco
from tests.reference.runs import run_config, words, write_learnable
from userlib.__main__ import main
from userlib.data.sources import load_data
from userlib.errors import UserError
from userlib.evaluation.eccv import coco_ids, eccv_caption


@pytest.fixture
def split(tmp_path, cache):
    """Six test pictures with COCO's names; caption ids of their own."""
    annotations = karpathy({"train": 1, "test": 6})
    for number, image in enumerate(annotations["images"]):
        for k, sentence in enumerate(image["sentences"]):
            sentence["sentid"] = 1000 * number + k
    return load_data(str(write_coco(tmp_path / "coco", annotations))).split("test")


class Metrics:
    """What of the package is used: its ground truth and compute_all_metrics, which here counts first hits."""

    eccv_gts = {"i2t": {1: [1000, 2003]}, "t2i": {1000: [1], 2003: [1, 2]}}
    cxc_gts = {"i2t": {2: [2000]}, "t2i": {2000: [2]}}

    def compute_all_metrics(self, i2t, t2i, target_metrics, Ks, verbose):
        assert set(target_metrics) == {"eccv_r1", "eccv_map_at_r", "eccv_rprecision", "cxc_recalls"}
        assert not verbose and tuple(Ks) == (1, 5, 10)
        self.seen.update(i2t=i2t, t2i=t2i)
        share = [
            np.mean([result[key][0] in right for key, right in truth.items()])
            for result, truth in ((i2t, self.eccv_gts["i2t"]), (t2i, self.eccv_gts["t2i"]))
        ]
        return {"eccv_r1": dict(zip(("i2t", "t2i"), share, strict=True))}

    seen: dict = {}


@pytest.fixture
def package(monkeypatch):
    module = types.ModuleType("eccv_caption")
    module.Metrics = Metrics
    monkeypatch.setitem(sys.modules, "eccv_caption", module)
    Metrics.seen.clear()


def vectors(split):
    """Each picture a direction of its own, its captions along it, shorter one by one; 2003 looks at picture 1."""
    images = np.eye(6, 8, dtype=np.float32)
    captions = images[split.caption_to_image] * (1 - 0.01 * np.tile(np.arange(5), 6))[:, None]
    pictures, names = coco_ids(split)
    captions[names.tolist().index(2003)] = 0.985 * images[pictures.tolist().index(1)]
    return images, captions.astype(np.float32)


def test_names_are_those_of_coco(split):
    pictures, names = coco_ids(split)
    assert pictures.tolist() == [1, 2, 3, 4, 5, 6]
    assert names.tolist() == [1000 * i + k for i in range(1, 7) for k in range(5)]
    part = split.select([3, 1], "part")
    assert coco_ids(part)[1].tolist() == [4000, 4001, 4002, 4003, 4004, 2000, 2001, 2002, 2003, 2004]


def test_the_package_gets_names_best_first_and_gives_percent(split, package):
    result = eccv_caption(*vectors(split), split)
    assert result == {"eccv_r1": {"i2t": 100.0, "t2i": 100.0}}
    assert Metrics.seen["t2i"][2003][0] == 1 and Metrics.seen["t2i"][2000][0] == 2
    assert Metrics.seen["i2t"][1][:6] == [1000, 1001, 2003, 1002, 1003, 1004]
    assert Metrics.seen["i2t"][3][:5] == [3000, 3001, 3002, 3003, 3004]
    assert len(Metrics.seen["i2t"]) == 6 and len(Metrics.seen["t2i"]) == 30
    assert all(len(best) == 10 for best in Metrics.seen["i2t"].values())


def test_as_many_places_are_given_as_an_item_has_relevant_ones(split, package, monkeypatch):
    """Ten would cut mAP@R and R-Precision short."""
    names = [1000 * i + k for i in (1, 2, 3) for k in range(5)][:12]
    monkeypatch.setattr(Metrics, "eccv_gts", {"i2t": {1: names}, "t2i": {1000: [1]}})
    eccv_caption(*vectors(split), split)
    assert {len(best) for best in Metrics.seen["i2t"].values()} == {12}
    assert {len(best) for best in Metrics.seen["t2i"].values()} == {6}  # there are no more images


def test_what_is_missing_is_named(split, package, monkeypatch, tmp_path):
    few = split.select([0, 2, 3, 4, 5], "part")
    with pytest.raises(UserError, match="1 images of ECCV Caption and CxC are not in the split 'part'"):
        eccv_caption(np.eye(5, 8), np.eye(25, 8), few)
    plain = load_data(str(write_learnable(tmp_path / "scan"))).split("test")
    with pytest.raises(UserError, match="has no caption ids.*dataset_coco.json"):
        eccv_caption(np.eye(10), np.eye(50, 10), plain)
    monkeypatch.setitem(sys.modules, "eccv_caption", None)
    with pytest.raises(UserError, match="not installed: pip install eccv_caption"):
        eccv_caption(np.eye(6), np.eye(30, 6), split)


def test_folds_and_eccv_on_the_command_line(tmp_path, cache, capsys, monkeypatch):
    config = run_config(write_learnable(tmp_path / "data"), steps=2)
    assert main(words(config, tmp_path / "c.json", tmp_path / "run")) == 0
    capsys.readouterr()
    command = ["evaluate", "--checkpoint", str(tmp_path / "run"), "--json"]
    assert main([*command, "--folds", "5"]) == 0
    document = json.loads(capsys.readouterr().out)
    mean = document["mean of 2 folds of 5"]
    assert mean["rsum"] >= document["tables"]["model"]["rsum"][0]  # smaller galleries are easier
    monkeypatch.setitem(sys.modules, "eccv_caption", None)
    assert main([*command, "--eccv"]) == 2
    assert "pip install eccv_caption" in capsys.readouterr().err
    assert main(["evaluate", "--model", "ViT-B-32", "--folds", "5"]) == 2
    assert "need the embeddings" in capsys.readouterr().err
