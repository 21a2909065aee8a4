"""CGE's controls on a small drawn world: whose vector is given, and what is chosen where."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.copies import write_backbone, write_clip
from tests.reference.runs import run_config, write_learnable
from userlab.ablation.guides import (
    WEIGHTS,
    add_scores,
    cca_embeddings,
    clip_embeddings,
    guide_embeddings,
    random_clip,
    random_guide,
    with_guide,
)
from userlab.ablation.rows import read_row
from userlab.ablation.study import jobs_of
from userlab.ablation.variants import Study, Variant
from userlab.ablation.worker import run_job
from userlib.baselines import cca
from userlib.config import Config, DataConfig, ModelConfig, TrainingConfig
from userlib.data.clip import load_clip
from userlib.data.extractors import make_extractor
from userlib.errors import UserError
from userlib.evaluation import ranks, ranks_from_scores, recalls
from userlib.search import OpenClipEncoder
from userlib.training import prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    name = f"open_clip:local-dir:{write_clip(tmp_path_factory.mktemp('guides') / 'clip')}"
    sizes = {"train": 12, "val": 6, "test": 8}
    config = Config(
        data=DataConfig(data="scenes", sizes=sizes, guide=name, test_split="test"),
        model=ModelConfig(enhancement="cge", embed_dim=8, text_width=8, word_width=4),
        training=TrainingConfig(steps=2, batch_size=4, precision="fp32"),
    )
    return prepare(config, progress=False)


def guides(prepared):
    return [np.asarray(pairs.features.guide) for pairs in (prepared.train, prepared.val, prepared.test)]


def test_informed_is_the_pictures_own(prepared):
    assert with_guide(prepared, "informed") is prepared


def test_mismatched_is_another_pictures_vector(prepared):
    moved = with_guide(prepared, "mismatched")
    for before, after in zip(guides(prepared), guides(moved), strict=True):
        assert sorted(map(tuple, before)) == sorted(map(tuple, after))
        assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert moved.train.features.tokens is prepared.train.features.tokens
    batch = moved.train.batch(np.arange(5))
    assert np.array_equal(batch.guide.numpy(), guides(moved)[0][prepared.train.caption_to_image[:5]])
    other = replace(prepared.config, training=replace(prepared.config.training, seed=1))
    again = with_guide(replace(prepared, config=other), "mismatched")
    assert not np.array_equal(guides(again)[0], guides(moved)[0])


def test_random_weights_are_those_before_training(prepared):
    result = with_guide(prepared, "random")
    for before, after in zip(guides(prepared), guides(result), strict=True):
        assert before.shape == after.shape
        assert not np.allclose(before, after)
        assert np.allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    folder = random_clip(prepared.config.data.guide)
    assert folder == random_clip(prepared.config.data.guide)
    model, _ = load_clip(f"local-dir:{folder}")
    trained, _ = load_clip(prepared.config.data.guide.removeprefix("open_clip:"))
    same = [torch.equal(a, b) for a, b in zip(model.parameters(), trained.parameters(), strict=True)]
    assert not all(same)
    with pytest.raises(UserError, match="random weights"):
        random_clip("ViT-B-32/laion2b_s34b_b79k")


def without_text(folder, name):
    """The same world with a timm network's pooled vector as guide."""
    config = Config(
        data=DataConfig(
            data="scenes", sizes={"train": 12, "val": 6, "test": 8}, guide=name or f"timm:{write_backbone(folder)}",
            test_split="test",
        ),
        model=ModelConfig(enhancement="cge", embed_dim=8, text_width=8, word_width=4),
        training=TrainingConfig(steps=2, batch_size=4, precision="fp32"),
    )  # fmt: skip
    return prepare(config, progress=False)


@pytest.fixture(scope="module", params=["timm:FILE", "timm:NAME of the tokens"])
def timm(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("timm")
    if request.param == "timm:FILE":
        return without_text(folder, None)
    tokens = {"tokens": "timm:test_resnet", "token_weights": str(write_backbone(folder))}
    config = without_text(folder, "region-mini").config
    return prepare(
        replace(config, data=replace(config.data, guide="timm:test_resnet", **tokens)), progress=False
    )


def test_a_timm_guide_has_random_weights_too(timm):
    result = with_guide(timm, "random")
    for before, after in zip(guides(timm), guides(result), strict=True):
        assert before.shape == after.shape
        assert not np.allclose(before, after, atol=1e-3)
        assert np.allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
        assert len(np.unique(after.round(6), axis=0)) == len(after)  # it still tells images apart
    assert np.array_equal(result.train.features.tokens[:], timm.train.features.tokens[:])
    moved = with_guide(timm, "mismatched")
    assert sorted(map(tuple, guides(moved)[1])) == sorted(map(tuple, guides(timm)[1]))


def test_random_weights_of_timm_are_made_once_and_build_the_same_network(tmp_path):
    weights = write_backbone(tmp_path)
    name = random_guide(f"timm:{weights}")
    made = make_extractor(name)
    informed = make_extractor(f"timm:{weights}")
    assert made.settings == informed.settings and made.local
    one, other = made.network.state_dict(), informed.network.state_dict()
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in other.items()}
    assert not torch.equal(one["layer4.0.conv1.weight"], other["layer4.0.conv1.weight"])
    file = Path(name.removeprefix("timm:"))
    before = file.stat().st_mtime_ns
    torch.manual_seed(5)  # the weights are those of their own seed
    assert random_guide(f"timm:{weights}") == name and file.stat().st_mtime_ns == before
    assert random_guide("timm:test_resnet", weights=weights) == name
    other_way = json.loads(weights.with_suffix(".json").read_text()) | {"std": [32, 32, 32]}
    weights.with_suffix(".json").write_text(json.dumps(other_way))
    assert random_guide(f"timm:{weights}") != name


def test_a_guide_that_is_no_network_has_no_random_weights(tmp_path):
    np.save(tmp_path / "vectors.npy", np.ones((1, 3), np.float32))
    (tmp_path / "ids.txt").write_text("1\n")
    for name in (f"vectors:{tmp_path}", "open_clip:ViT-B-32/laion2b_s34b_b79k"):
        with pytest.raises(UserError, match=f"{name}.*cannot have random weights"):
            random_guide(name)


def guide_of_own_vectors(tmp_path):
    """A learnable world whose guide says what the images show: the mean region of each, as vectors of one's own."""
    folder = write_learnable(tmp_path / "data")
    vectors, ids = [], []
    for part in ("train", "dev", "test"):
        vectors.append(np.load(folder / f"{part}_ims.npy").mean(1))
        ids += (folder / f"{part}_ids.txt").read_text().splitlines()
    (tmp_path / "own").mkdir()
    np.save(tmp_path / "own" / "vectors.npy", np.concatenate(vectors))
    (tmp_path / "own" / "ids.txt").write_text("\n".join(ids) + "\n")
    config = run_config(folder)
    return replace(
        config,
        data=replace(config.data, guide=f"vectors:{tmp_path / 'own'}"),
        training=replace(config.training, steps=4),
    )


def test_a_guide_without_text_scores_by_a_cca_that_never_sees_the_report_split(tmp_path):
    one = prepare(guide_of_own_vectors(tmp_path), progress=False)
    splits, chosen = guide_embeddings(one)
    parts = [
        (np.asarray(p.features.guide, np.float32), p.split.captions, p.caption_to_image)
        for p in (one.train, one.val, one.test)
    ]
    wanted = cca(*parts)
    assert chosen == wanted.facts
    for (images, captions), pairs, ranked in zip(
        splits, (one.val, one.test), (wanted.select_ranks, wanted.ranks), strict=True
    ):
        assert len(images) == len(pairs.split) and len(captions) == len(pairs.split.captions)
        assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-4)
        assert np.array_equal(ranks(images, captions, pairs.caption_to_image).t2i, ranked.t2i)
    shuffled = with_guide(one, "mismatched").test  # another report split: nothing that was chosen may move
    (select, report), again = cca_embeddings(one.train, one.val, shuffled)
    assert again == chosen and np.array_equal(select[0], splits[0][0])
    assert not np.array_equal(report[0], splits[1][0])
    alone, _ = guide_embeddings(replace(one, test=None))
    assert len(alone) == 1 and np.array_equal(alone[0][1], splits[0][1])


def test_late_fusion_needs_no_text_side(tmp_path):
    study = Study(
        name="small",
        question="?",
        variants={"none": Variant(label="none", changes={"model": {"enhancement": "none"}}, scores="none+scores")},
        reference="none",
        fused="Net",
    )  # fmt: skip
    (job,) = jobs_of(study, guide_of_own_vectors(tmp_path), out=str(tmp_path / "out"), seeds=1)
    assert run_job(job) == 0 and job.finished()
    plain, fused = (read_row(job.row(name)) for name in job.names())
    assert fused.metadata["weight"] in WEIGHTS and "weight" not in plain.metadata
    assert fused.metadata["baseline"]["select_rsum"] > 0
    select = [row.metadata["select"]["metrics"]["rsum"] for row in (plain, fused)]
    assert select[1] >= select[0]
    assert study.lines()["none+scores"] == "none, late score fusion with Net"


def test_clip_embeddings_are_the_encoders_own(prepared):
    name = prepared.config.data.guide
    pairs = prepared.val
    images, captions = clip_embeddings(name, pairs)
    encoder = OpenClipEncoder(name)
    assert np.allclose(images, encoder.encode_image([pairs.split.pictures[i] for i in range(6)]), atol=1e-5)
    assert np.allclose(captions[7], encoder.encode_text([pairs.split.captions[7]])[0], atol=1e-5)


def embeddings(seed, pictures, noise):
    """Pictures and captions that belong together, and noise between them."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(pictures), 2)
    images = rng.standard_normal((pictures, 12))
    captions = images[owner] + noise * rng.standard_normal((2 * pictures, 12))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, captions)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32), owner


def test_the_weight_is_chosen_on_the_selection_split_alone():
    (i, c, owner), (ci, cc, _) = embeddings(0, 40, 1.5), embeddings(1, 40, 1.0)
    (ri, rc, r_owner), (rci, rcc, _) = embeddings(2, 30, 1.5), embeddings(3, 30, 1.0)
    result = add_scores(((i, c), (ri, rc)), ((ci, cc), (rci, rcc)), (owner, r_owner))
    tried = {
        w: recalls(ranks_from_scores(i @ c.T + np.float32(w) * (ci @ cc.T), owner)).rsum for w in WEIGHTS
    }
    assert tried[result.weight] == max(tried.values()) > tried[0.0]
    assert recalls(result.select).rsum == pytest.approx(max(tried.values()))
    expected = ranks_from_scores(ri @ rc.T + np.float32(result.weight) * (rci @ rcc.T), r_owner)
    assert np.array_equal(result.report.i2t, expected.i2t)
    useless = add_scores(((i, c), (ri, rc)), ((ci, cc), (-rci, rcc)), (owner, r_owner))
    assert useless.weight == result.weight  # the split reported on does not speak


def test_scores_that_only_harm_get_no_weight():
    i, c, owner = embeddings(0, 40, 0.3)
    result = add_scores(((i, c), (i, c)), ((i, -c), (i, -c)), (owner, owner))
    assert result.weight == 0
    assert np.array_equal(result.report.t2i, ranks(i, c, owner).t2i)
