"""Which model searches one's own photos in the demo."""

from tests.test_search_shipped import stand_in  # noqa: F401
from usercourse.demo import photos
from userlib import shipped
from userlib.search import CheckpointEncoder


def test_photos_mini_is_taken_where_no_other_is_at_hand(stand_in, monkeypatch):  # noqa: F811
    monkeypatch.setattr(photos, "weights_at_hand", lambda: None)
    encoder, name, said = photos.photo_encoder(" ", "the fallback")
    assert isinstance(encoder, CheckpointEncoder) and name == "photos-mini" and "non-commercial" in said


def test_a_checkpoint_of_ones_own_is_named_by_its_folder(stand_in, tmp_path):  # noqa: F811
    encoder, name, said = photos.photo_encoder(str(tmp_path / "assets" / "photos-mini"), "the fallback")
    assert isinstance(encoder, CheckpointEncoder) and (name, said) == ("photos-mini", "")


def test_without_any_the_models_of_drawings_say_what_they_are(monkeypatch, tmp_path):
    monkeypatch.setattr(photos, "weights_at_hand", lambda: None)
    monkeypatch.setattr(shipped, "ASSETS", tmp_path)
    assert photos.photo_encoder("", "the fallback") == (
        "the fallback",
        "a model of drawings",
        photos.DRAWINGS,
    )
