"""clip-mini as it comes with the project: it loads by open_clip, reads any text and sees."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from userlab.pretraining.drawing import Wanted, drawn
from userlib.data.extractors import make_extractor
from userlib.shipped import ASSETS
from userscenes import make_world

ZERO_SHOT_FLOOR = 0.4  # .555 was measured


@pytest.fixture(scope="module")
def clip():
    """Model, preprocessing and tokenizer, by open_clip alone."""
    import open_clip

    name = f"local-dir:{ASSETS / 'clip-mini'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    return model.eval(), preprocess, open_clip.get_tokenizer(name)


def test_clip_mini_loads_by_open_clip_and_gives_what_the_extractor_gives(clip):
    model, preprocess, _ = clip
    world = make_world("val", 6)
    pictures = [world.picture(i) for i in range(6)]
    extractor = make_extractor("clip-mini")
    tokens, guide = extractor(pictures)
    with torch.inference_mode():
        want = model.encode_image(torch.stack([preprocess(p) for p in pictures]), normalize=True)
    torch.testing.assert_close(guide, want)
    assert extractor.grid == (8, 8)
    assert tokens.shape[1:] == extractor.token_shape
    assert extractor.token_shape[0] == 64
    assert guide.shape[1] == extractor.guide_dim


def test_preprocessing_is_what_training_saw(clip):
    from userlab.pretraining.clip import SIDE, scaled

    result = drawn(Wanted(split="val", count=3, side=SIDE), show=False)
    world = make_world("val", 3)
    want = scaled(result.gather("pictures", np.arange(3)))
    torch.testing.assert_close(torch.stack([clip[1](world.picture(i)) for i in range(3)]), want)


def test_clip_mini_finds_pictures_of_val_without_having_seen_them(clip):
    """Chance is 5 % at R@10 of 200; the captions are of another style than those it learned from."""
    model, preprocess, tokenizer = clip
    world = make_world("val", 200)
    with torch.inference_mode():
        images = model.encode_image(
            torch.stack([preprocess(world.picture(i)) for i in range(200)]), normalize=True
        )
        words = tokenizer([world.captions(i)[1].text for i in range(200)])
        captions = model.encode_text(words, normalize=True)
    rank = (images @ captions.T > (images * captions).sum(-1)).sum(0)  # pictures before the right one
    assert (rank < 10).double().mean() > ZERO_SHOT_FLOOR


@settings(max_examples=25)
@given(st.text())
def test_clip_mini_takes_any_text(text):
    from open_clip import get_tokenizer

    tokenizer = _tokenizer(get_tokenizer)
    inner = tokenizer.tokenizer
    ids = inner(text).input_ids
    lower = inner.backend_tokenizer.normalizer.normalize_str(text)
    assert inner.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) in (
        lower,
        " " + lower,
    )
    rows = tokenizer([text])
    assert (rows[0] == len(inner) - 1).sum() == 1  # the end, from which the vector is read


def _tokenizer(get, kept: list = []):  # noqa: B006 - one for all examples
    if not kept:
        kept.append(get(f"local-dir:{ASSETS / 'clip-mini'}"))
    return kept[0]


def test_unknown_words_change_little(clip):
    """A made-up word moves a caption less than another colour does."""
    model, _, tokenizer = clip
    plain = ["a red car on a beach", "two brown dogs in a park", "a blue bird in the snow"]
    odd = [
        "a zorply red car on a beach",
        "two brown dogs in a vibrantly park",
        "a blue bird in the glistening snow",
    ]
    other = ["a green car on a beach", "two white dogs in a park", "a yellow bird in the snow"]
    with torch.inference_mode():
        a, b, c = (model.encode_text(tokenizer(texts), normalize=True) for texts in (plain, odd, other))
    assert ((a * b).sum(-1)).mean() > ((a * c).sum(-1)).mean()
