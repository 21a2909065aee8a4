"""DualEncoder for search against the models' own calls: an open_clip model from a folder, and a checkpoint."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.copies import write_backbone, write_clip
from userlib.config import Config, DataConfig, ModelConfig
from userlib.data.clip import load_clip, tokenizer_of
from userlib.data.extractors import make_extractor
from userlib.data.tokenizers import WordTokenizer
from userlib.errors import UserError
from userlib.model.user import DualEncoder, save_model
from userlib.search import CheckpointEncoder, Index, OpenClipEncoder
from userlib.search.protocol import difference
from userscenes import make_world

TEXTS = ["a red dog", "two cats on a long beach"]


def pictures(count=3):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("search") / "clip")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, clip_folder):
    """A function: a saved model on tokens of a tiny network, with a guide; metadata are what it remembers."""
    place = tmp_path_factory.mktemp("models")
    weights = write_backbone(place / "backbone")
    width = make_extractor("timm:test_resnet", weights=weights).token_shape[1]
    tokenizer = WordTokenizer.fit(TEXTS)
    guide = f"open_clip:local-dir:{clip_folder}"
    data = DataConfig(tokens="timm:test_resnet", token_weights=str(weights), guide=guide)
    model = ModelConfig(
        region_dim=width, guide_dim=12, embed_dim=8, enhancement="cge", text_width=6, word_width=5,
        vocab_size=tokenizer.vocab_size, queue_size=None,
    )  # fmt: skip
    config = Config(data=data, model=model)

    def save(**metadata):
        folder = place / f"model{len(list(place.iterdir()))}"
        save_model(folder, DualEncoder(model), tokenizer, config, {"data": "scenes", **metadata})
        return folder

    return save


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A function: a saved model on the same tokens without a guide."""
    place = tmp_path_factory.mktemp("plain")
    weights = write_backbone(place / "backbone")
    tokenizer = WordTokenizer.fit(TEXTS)
    model = ModelConfig(
        region_dim=make_extractor("timm:test_resnet", weights=weights).token_shape[1], embed_dim=8, text_width=6,
        word_width=5, vocab_size=tokenizer.vocab_size, queue_size=None,
    )  # fmt: skip
    config = Config(data=DataConfig(tokens="timm:test_resnet", token_weights=str(weights)), model=model)

    def save(**metadata):
        folder = place / f"model{len(list(place.iterdir()))}"
        save_model(folder, DualEncoder(model), tokenizer, config, metadata)
        return folder

    return save


def test_open_clip_encoder_is_the_model_itself(clip_folder):
    encoder = OpenClipEncoder(f"open_clip:local-dir:{clip_folder}")
    model, preprocess = load_clip(f"local-dir:{clip_folder}")
    words = tokenizer_of(f"local-dir:{clip_folder}")(TEXTS)
    with torch.no_grad():
        text = torch.nn.functional.normalize(model.encode_text(words), dim=1)
        seen = torch.stack([preprocess(one) for one in pictures()])
        image = torch.nn.functional.normalize(model.encode_image(seen), dim=1)
    assert encoder.encode_text(TEXTS) == pytest.approx(text.numpy(), abs=1e-5)
    assert encoder.encode_image(pictures()) == pytest.approx(image.numpy(), abs=1e-5)
    assert encoder.cache_key() == OpenClipEncoder(f"local-dir:{clip_folder}").cache_key()
    assert encoder.unknown("xyzzy") == []
    assert encoder.warning is None


def test_checkpoint_encoder_is_the_model_with_its_tokens_guide_and_words(checkpoint):
    encoder = CheckpointEncoder(checkpoint())
    loaded = encoder.loaded
    tokens, _ = encoder.tokens(pictures())
    assert encoder.guide is not None
    _, guide = encoder.guide(pictures())
    with torch.no_grad():
        image = loaded.model.encode_image(tokens, None, guide)
        alone = [
            loaded.model.encode_text(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))
            for ids in loaded.tokenizer.encode_all(TEXTS)
        ]
    assert encoder.encode_image(pictures()) == pytest.approx(image.numpy(), abs=1e-5)
    assert encoder.encode_text(TEXTS) == pytest.approx(torch.cat(alone).numpy(), abs=1e-5)
    assert encoder.unknown("a purple dog") == ["purple"]


def test_an_index_knows_the_model_that_made_it(checkpoint, tmp_path):
    first, second = CheckpointEncoder(checkpoint()), CheckpointEncoder(checkpoint())
    for i, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{i}.png")
    index = Index.build(tmp_path, first, progress=False)
    index.save(tmp_path / "index")
    assert Index.load(tmp_path / "index", first).search("a dog") == index.search("a dog")
    with pytest.raises(UserError, match="another model"):
        Index.load(tmp_path / "index", second)


@pytest.mark.parametrize(("limit", "warned"), [(0.0, True), (9.0, False)])
def test_images_far_from_the_mean_guide_of_the_training_images_are_warned_of(checkpoint, limit, warned):
    encoder = CheckpointEncoder(checkpoint(data="photos", guide_mean=[0.0] * 12, guide_limit=limit))
    vectors, distances = encoder.measured(pictures())
    assert vectors.tolist() == encoder.encode_image(pictures()).tolist()
    assert ((distances > 1) == warned).all()
    said = encoder.warn(distances, drawn=False)
    assert (said is not None) == warned
    if said is not None:
        assert "trained on images such as those of photos alone: 3 of 3 images here (100 %)" in said
        assert "open_clip" in said


def test_the_distance_is_that_from_the_mean_guide_in_units_of_the_limit(checkpoint):
    encoder = CheckpointEncoder(checkpoint(data="photos", guide_mean=[0.0] * 12, guide_limit=2.0))
    assert encoder.measured(pictures())[1] == pytest.approx(np.full(3, 1 / 2.2), abs=1e-4)  # guides of norm 1
    drawn = CheckpointEncoder(checkpoint(data="scenes", guide_mean=[0.0] * 12, guide_limit=0.001))
    far = drawn.measured([Image.new("RGB", (40, 40), "red")])[1]
    assert "trained on drawings alone" in drawn.warn(far, drawn=False)
    assert drawn.warn(far, drawn=True) is None


@pytest.mark.parametrize(("data", "drawings"), [("scenes", True), ("pretrain", True), ("photos", False)])
def test_a_model_of_drawings_knows_by_the_pixels_that_an_image_is_none(checkpoint, data, drawings):
    """Both drawn sets are drawings: their models measure by pixels, whatever their guide says, and name what they have
    seen. On the drawn world itself there is nothing to tell.
    """
    encoder = CheckpointEncoder(checkpoint(data=data, guide_mean=[0.0] * 12, guide_limit=9.0))
    noise, drawn = pictures(), [make_world("test", 3).picture(i) for i in range(3)]
    far, near = encoder.measured(noise)[1], encoder.measured(drawn)[1]
    assert ((far > 1) == drawings).all() and (near <= 1).all()
    said = encoder.warn(far, drawn=False)
    assert ("trained on drawings alone: 3 of 3" in said) if drawings else (said is None)
    assert encoder.warn(near, drawn=False) is encoder.warn(far, drawn=True) is None


def test_equal_weights_with_other_words_or_settings_are_another_model(checkpoint):
    first, second = (CheckpointEncoder(checkpoint()) for _ in range(2))
    second.loaded.model.load_state_dict(first.loaded.model.state_dict())
    assert difference(first.cache_key(), second.cache_key()) == ""
    other = WordTokenizer(second.loaded.tokenizer.words[::-1])
    second.loaded = replace(second.loaded, tokenizer=other)
    assert "built" in difference(first.cache_key(), second.cache_key())


@pytest.mark.parametrize("side", ["image", "text"])
def test_either_encoder_s_weights_are_part_of_what_a_model_is(checkpoint, side):
    """Images frozen and the text side trained on, say: vectors of captions kept with the index would be stale."""
    first, second = (CheckpointEncoder(checkpoint()) for _ in range(2))
    second.loaded.model.load_state_dict(first.loaded.model.state_dict())
    with torch.no_grad():
        next(getattr(second.loaded.model, f"{side}_encoder").parameters()).view(-1)[0] += 1
    assert "weights" in difference(first.cache_key(), second.cache_key())


@pytest.mark.parametrize("part", ["tokens", "guide"])
def test_what_makes_tokens_and_guide_is_part_of_what_a_model_is(checkpoint, part):
    """One model with another network in front of it gives other vectors."""
    first, second = (CheckpointEncoder(checkpoint()) for _ in range(2))
    second.loaded.model.load_state_dict(first.loaded.model.state_dict())
    setattr(second, part, {"tokens": second.guide, "guide": second.tokens}[part])
    assert f"{part}." in difference(first.cache_key(), second.cache_key())


def test_token_weights_that_were_moved_are_named(checkpoint, tmp_path):
    folder = checkpoint()
    stored = Path(CheckpointEncoder(folder).loaded.config.data.token_weights)
    for file in (stored, stored.with_suffix(".json")):
        shutil.copy(file, tmp_path / file.name)
    moved = CheckpointEncoder(folder, token_weights=tmp_path / stored.name)
    assert moved.tokens.weights == tmp_path / stored.name
    assert difference(CheckpointEncoder(folder).cache_key(), moved.cache_key()) == ""


def test_a_model_on_precomputed_features_cannot_search_new_pictures(tmp_path):
    tokenizer = WordTokenizer.fit(TEXTS)
    model = ModelConfig(
        region_dim=4,
        embed_dim=8,
        text_width=6,
        word_width=5,
        vocab_size=tokenizer.vocab_size,
        queue_size=None,
    )
    config = Config(data=DataConfig(data="flickr", tokens="precomputed"), model=model)
    save_model(tmp_path / "model", DualEncoder(model), tokenizer, config, {})
    with pytest.raises(UserError, match="precomputed features"):
        CheckpointEncoder(tmp_path / "model")


def test_without_a_guide_the_mean_token_tells_images_unlike_those_of_the_training(plain):
    encoder = CheckpointEncoder(plain(data="photos"))
    assert np.isnan(encoder.measured(pictures())[1]).all()  # an older checkpoint says nothing
    tokens = encoder.tokens(pictures())[0].float().mean(1)
    unit = torch.nn.functional.normalize(tokens, dim=1)
    mean = unit.mean(0)
    limit = float((unit - mean).norm(dim=1).max())
    encoder = CheckpointEncoder(plain(data="photos", token_mean=mean.tolist(), token_limit=limit))
    away = encoder.measured([*pictures(), Image.new("RGB", (64, 64), "white")])[1]
    assert away[:3] == pytest.approx((unit - mean).norm(dim=1) / limit, abs=1e-3)
    assert away[3] > 1
    assert "trained on images such as those of photos alone: 1 of 4" in encoder.warn(away, drawn=False)


def test_a_few_images_beyond_the_limit_are_usual_by_tokens_and_not_by_a_guide(plain, checkpoint):
    """Of photos like those of the training 2 in 100 lie beyond the limit of mean tokens, and hardly any beyond a
    guide's: 4 in 100 are told by the guide alone, 6 by both.
    """
    by_token = CheckpointEncoder(plain(data="photos", token_mean=[0.0], token_limit=1.0))
    by_guide = CheckpointEncoder(checkpoint(data="photos", guide_mean=[0.0], guide_limit=1.0))
    for far, told in ((0, (False, False)), (4, (False, True)), (6, (True, True))):
        away = np.array([2.0] * far + [0.5] * (100 - far))
        assert tuple(one.warn(away, drawn=False) is not None for one in (by_token, by_guide)) == told


def test_a_query_that_is_not_read_to_its_end_is_told(clip_folder, checkpoint):
    encoder = OpenClipEncoder(f"local-dir:{clip_folder}")
    longest = tokenizer_of(f"local-dir:{clip_folder}")("").shape[1]
    index = Index.empty(encoder)
    assert not any("not read" in note for note in index.notes("a dog"))
    (told,) = [note for note in index.notes("dog " * longest) if "not read" in note]
    assert f"more than the {longest} tokens" in told
    words_alone = Index.empty(CheckpointEncoder(checkpoint()))  # a GRU reads all
    assert not any("not read" in note for note in words_alone.notes("dog " * 500))


def test_what_only_one_encoder_has_is_a_difference():
    one = {"kind": "checkpoint", "tokens": [{"precision": "fp32"}]}
    more = {**one, "tokens": [{"precision": "fp32"}, {"precision": "bf16"}], "guide": "clip-mini"}
    for ours, theirs in ((one, more), (more, one)):
        assert "tokens.1.precision" in difference(ours, theirs) and "guide" in difference(ours, theirs)
