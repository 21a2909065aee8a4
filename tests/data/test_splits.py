"""Images and captions stay together, whatever is taken or held out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from userlib.data.splits import RetrievalData, Split
from userlib.errors import UserError


class Numbers:
    """A stand-in for images: number i is its own image."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return i


def make(n=5, caption_to_image=None, **changed):
    caption_to_image = (
        np.repeat(np.arange(n), 2) if caption_to_image is None else np.asarray(caption_to_image)
    )
    fields = {
        "name": "train",
        "ids": tuple(f"p{i}" for i in range(n)),
        "pictures": Numbers(n),
        "captions": tuple(f"caption {j} of p{i}" for j, i in enumerate(caption_to_image)),
        "caption_to_image": caption_to_image,
        "fingerprint": "f",
        "groups": tuple("odd" if i % 2 else "even" for i in range(n)),
    }
    return Split(**(fields | changed))


@given(data=st.data(), n=st.integers(1, 8))
def test_take_keeps_each_picture_with_its_captions(data, n):
    caption_to_image = data.draw(st.permutations([i for i in range(n) for _ in range(1 + i % 3)]))
    rows = data.draw(st.permutations(range(n)))[: data.draw(st.integers(1, n))]
    split = make(n, caption_to_image)
    part = split.select(rows, "part")
    assert part.ids == tuple(split.ids[i] for i in rows)
    assert [part.pictures[k] for k in range(len(part))] == list(rows)
    assert part.groups == tuple(split.groups[i] for i in rows)
    slow = [
        (k, text)
        for k, i in enumerate(rows)
        for j, text in zip(caption_to_image, split.captions, strict=True)
        if j == i
    ]
    assert list(zip(part.caption_to_image.tolist(), part.captions, strict=True)) == slow


@given(n=st.integers(2, 12), seed=st.integers(0, 5), data=st.data())
def test_hold_out_parts_the_pictures(n, seed, data):
    count = data.draw(st.integers(1, n - 1))
    whole = make(n)
    held = RetrievalData(name="d", splits={"train": whole}, fingerprint="d").hold_out(
        "train", count, seed=seed
    )
    train, select = held.split("train"), held.split("select")
    assert len(select) == count
    assert sorted(train.ids + select.ids) == sorted(whole.ids)
    for part in (train, select):
        assert part.parent is whole
        assert [whole.ids[i] for i in part.rows] == list(part.ids)
        assert all(
            text.endswith(part.ids[i]) for i, text in zip(part.caption_to_image, part.captions, strict=True)
        )


def test_hold_out_is_the_same_for_a_seed_and_another_for_another():
    data = RetrievalData(name="d", splits={"train": make(50)}, fingerprint="d")
    assert data.hold_out("train", 20).split("select").ids == data.hold_out("train", 20).split("select").ids
    assert (
        data.hold_out("train", 20).split("select").ids
        != data.hold_out("train", 20, seed=1).split("select").ids
    )
    twins = RetrievalData(name="d", splits={"train": make(50), "test": make(50)}, fingerprint="d")
    other = RetrievalData(name="d", splits={"train": make(50)}, fingerprint="e")
    held = [
        data.hold_out("train", 20), data.hold_out("train", 21), data.hold_out("train", 20, seed=1),
        data.hold_out("train", 20, seed=None), data.hold_out("train", 20, into="val"), twins.hold_out("test", 20),
        other.hold_out("train", 20),
    ]  # fmt: skip
    assert len({one.fingerprint for one in held}) == len(held)


def test_what_is_taken_of_a_held_out_part_knows_its_rows_in_the_whole():
    whole = make(10)
    data = RetrievalData(name="d", splits={"train": whole}, fingerprint="d").hold_out("train", 4)
    part = data.split("select").select([2, 0], "two")
    assert [whole.ids[i] for i in part.rows] == list(part.ids)
    again = data.hold_out("train", 2, into="more").split("more")
    assert again.parent is whole
    assert [whole.ids[i] for i in again.rows] == list(again.ids)


def test_taken_pictures_have_another_fingerprint():
    prints = {make().select(rows, "part").fingerprint for rows in ([0, 1], [1, 0], [0, 2])}
    assert len(prints | {make().fingerprint}) == 4


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: make().select([5], "part"), "Image 5 was requested.*0 to 4"),
        (lambda: make().select([-1], "part"), "Image -1 was requested"),
        (lambda: make().select([1, 1], "part"), "twice"),
        (lambda: make().select([], "part"), "no image"),
        (
            lambda: make().select([True, False, True, False, False], "part"),
            "Of a mask give numpy.flatnonzero",
        ),
        (lambda: make().select([0.5], "part"), "whole numbers, and got float64"),
        (lambda: make(captions=("x",) * 9 + ("y\ud83d",)), "Caption 9 .*has a character that no text has"),
        (lambda: make(ids=("a", "b", "a", "c", "d")), "id 'a' occurs twice"),
        (lambda: make(pictures=Numbers(4)), "4 images for 5 ids"),
        (lambda: make(caption_to_image=np.array([0, 1, 2, 3, 5])), "points to an image"),
        (lambda: make(captions=("x",) * 9 + (" ",)), "Caption 9 .*'p4'.*is empty"),
        (lambda: make(caption_to_image=np.array([0, 1, 2, 4])), "1 of 5 images .* have no caption.*'p3'"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda d: d.split("tets"), "no split 'tets'; it has: train"),
        (lambda d: d.hold_out("tets", 1), "no split 'tets'"),
        (lambda d: d.hold_out("train", 5), "has 5; choose 1 to 4"),
        (lambda d: d.hold_out("train", 0), "has 5; choose 1 to 4"),
        (lambda d: d.hold_out("train", "2"), "count is '2'; it must be a whole number"),
        (lambda d: d.hold_out("train", 1, into="train"), "already has a split 'train'"),
    ],
)
def test_wrong_split_names_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call(RetrievalData(name="d", splits={"train": make()}, fingerprint="d"))
