"""The demo's own files: small enough, of this world and of these weights, with what they were made by."""

import numpy as np
import pytest

from usercourse.demo import available_models, open_engine, world_gallery
from usercourse.demo.gallery import MODEL_DIR
from usercourse.demo.models import RECIPES, stored_failures, stored_map
from userlib.checkpoints import read_checkpoint

NAMES = list(available_models().values())


@pytest.fixture(scope="module")
def shipped():
    return world_gallery()


def test_the_checkpoints_are_small_and_the_page_can_compare():
    assert {"mean", "full"} <= set(NAMES)
    assert set(NAMES) <= set(RECIPES)
    assert sum(file.stat().st_size for name in NAMES for file in (MODEL_DIR / name).iterdir()) <= 5e6


def test_captions_and_truth_are_those_of_the_world(shipped):
    from userscenes import true

    assert len(shipped.thumbs) == len(shipped) == 1_000
    for i in range(3, 1_000, 97):
        written = shipped.world.captions(i)
        numbers = shipped.captions_by_picture[i]
        assert [shipped.captions[j] for j in numbers] == [one.text for one in written]
        for j, one in zip(numbers, written, strict=True):
            for k in {i, (i + 1) % 1_000, (7 * i) % 1_000}:
                assert (k in shipped.true_pictures[j]) == true(one, shipped.world[k])


@pytest.mark.parametrize("name", NAMES)
def test_vectors_map_and_failures_are_of_these_weights(name, shipped):
    engine = open_engine(name, shipped)
    rows = [2, 500, 999]
    fresh = engine.encoder.encode_image([shipped.pictures[i] for i in rows])
    assert (
        (engine.index.vectors[rows] * fresh).sum(1) > 0.99
    ).all()  # another Pillow draws a little otherwise
    assert np.isfinite(stored_map(name)).all()
    assert stored_map(name).shape == (2_000, 2)
    examples, counts, captions = stored_failures(name)
    assert captions == 5_000
    assert 0 < sum(counts.values()) < captions
    for one in examples[::9]:
        right = next(r for r in engine.search(shipped.captions[one.caption], 1).right if r.own)
        assert abs(right.rank - one.rank) <= 1 + one.rank // 50


@pytest.mark.parametrize("name", NAMES)
def test_each_tells_how_it_was_made(name):
    metadata = read_checkpoint(MODEL_DIR / name)[1]["metadata"]
    assert metadata["command"].startswith("python -m usercourse.demo.models")
    assert metadata["provenance"]["code"]
    assert 5 < metadata["test"]["t2i_r1"] < metadata["test"]["t2i_r10"] < 100
