"""What is told beside hits that may mean nothing: images that are no drawings, words that nobody taught."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from userlib.search import OpenClipEncoder
from userlib.search.drawings import FILE, distances, features
from userlib.search.protocol import difference
from userlib.search.weak import far_images, notes_on
from userscenes import make_world
from userscenes.drawings import measure


def natural(seed, size=200):
    """As photos are: light falls off as 1/f, colours go together."""
    rng = np.random.default_rng(seed)
    f = np.fft.fftfreq(size)
    slope = 1 / np.maximum(np.hypot(f[:, None], f[None]), 1 / size)
    shared = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * slope).real
    own = [np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * slope).real for _ in range(3)]
    channels = np.stack([shared + 0.15 * one for one in own], 2)
    channels = (channels - channels.mean()) / channels.std() * 55 + 110
    return Image.fromarray(channels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def drawings():
    world = make_world("test", 24)
    return [world.picture(i) for i in range(24)]


def as_jpeg(picture):
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=90)
    return Image.open(data)


def test_drawings_are_like_drawings_at_any_size_and_as_jpeg(drawings):
    assert (distances(drawings) > 1).sum() == 0
    assert (distances([one.resize((400, 400)) for one in drawings[:20]]) > 1).sum() == 0
    assert (distances([as_jpeg(one) for one in drawings[:20]]) > 1).sum() <= 1


@pytest.mark.parametrize(
    "strange",
    [
        natural(0), natural(1), natural(2, 500), Image.new("RGB", (50, 80), "red"), Image.new("L", (9, 9)),
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)),
        natural(3).filter(ImageFilter.GaussianBlur(6)),
    ],
)  # fmt: skip
def test_one_image_that_is_no_drawing_is_told(strange):
    (far,) = distances([strange])
    assert far > 1
    assert "the image here is unlike them" in far_images(np.array([far]), "drawings", "Take another.")


def test_the_measure_is_the_stored_one(drawings):
    assert features(drawings[0]).shape == (22,)
    assert FILE.is_file()
    assert np.median(distances(drawings)) < 0.7


def test_unknown_distances_do_not_make_the_far_ones_fewer():
    """Three of 40 measured images are far, and 1,000 images were indexed when nothing was measured."""
    distances = np.array([2.0] * 3 + [0.5] * 37 + [np.nan] * 1000)
    assert "3 of 40 images here (8 %)" in far_images(distances, "drawings", "Take another.")


@pytest.mark.parametrize(
    ("count", "far", "said"),
    [
        (1, 1, "the image here is unlike them"), (2, 1, "1 of 2 images here (50 %) is unlike"),
        (40, 3, "3 of 40 images here (8 %) are unlike"), (1000, 6, "6 of 1,000"), (1000, 5, None), (3, 0, None),
        (0, 0, None),
    ],
)  # fmt: skip
def test_the_share_of_unlike_images_is_told(count, far, said):
    told = far_images(np.array([2.0] * far + [0.5] * (count - far) + [np.nan]), "drawings", "Take another.")
    assert (told is None) == (said is None)
    if told is not None:
        assert said in told
        assert told.startswith("This model was trained on drawings alone: ")
        assert told.endswith("Take another.")


def known(*words):
    return lambda text: [] if text in words else [text]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a dog", None), ("A Dog!", None), ("\U0001f600", "arbitrary"),
        ("a xylophone", "do not count: xylophone"), ("犬", "arbitrary"),
        ("собака бежит", "no word of the query (собака, бежит)"), ("a dog's day", "dog's, day"), ("", None),
        (" ".join(f"w{i}" for i in range(25)), "and 5 more"), ("x x x a", "do not count: x."),
    ],
)  # fmt: skip
def test_unknown_words_are_told(text, said):
    notes = notes_on(text, known("a", "dog"))
    assert (notes == ()) == (said is None)
    if said is not None:
        assert said in notes[0]


def test_clip_mini_knows_what_it_has_seen(drawings):
    from userlib.shipped import ASSETS

    encoder = OpenClipEncoder(f"local-dir:{ASSETS / 'clip-mini'}")
    assert encoder.unknown("two red dogs on a beach, 2024!") == []
    assert encoder.unknown("犬 собака a dog") == ["犬", "собака"]
    vectors, far = encoder.measured([*drawings[:3], natural(0)])
    assert (far > 1).tolist() == [False, False, False, True]
    assert vectors.shape[0] == 4
    assert "trained on drawings alone: 1 of 4 images" in encoder.warn(far, drawn=False)
    assert encoder.warn(far, drawn=True) is None


def test_where_two_encoders_differ_is_named():
    one = {"kind": "checkpoint", "name": "runs/a", "weights": "a" * 64, "tokens": {"precision": "fp32"}}
    assert difference(one, {**one, "name": "elsewhere"}) == ""
    said = difference(one, {**one, "weights": "b" * 64, "tokens": {"precision": "bf16"}})
    assert "runs/a" in said
    assert "tokens.precision fp32 against bf16" in said
    assert "weights aaaaaaaaaaaa against bbbbbbbbbbbb" in said


def test_measured_drawings_by_loops():
    """Mean, precision and limit are those of the features, and `distances` reads them as they are stored."""
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 40 + n, (64, 64, 3), dtype=np.uint8)) for n in range(60)]
    result = measure(images)
    table = np.stack([features(one) for one in images])
    mean = sum(table) / 60
    spread = sum(np.outer(row - mean, row - mean) for row in table) / 60
    precision = np.linalg.inv(spread + 1e-3 * np.diag(spread).mean() * np.eye(22))
    away = sorted(float(np.sqrt((row - mean) @ precision @ (row - mean))) for row in table)
    assert result["drawings"] == 60
    assert np.allclose(result["mean"], mean, atol=1e-4)
    assert np.allclose(result["precision"], precision, atol=1e-3)
    assert result["limit"] == pytest.approx(1.2 * (away[58] + 0.41 * (away[59] - away[58])), rel=1e-3)
