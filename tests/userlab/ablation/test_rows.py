"""Rows: small arrays beside a JSON, whole or absent, and nothing lost on the way."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from userlab.ablation.rows import pack, read_row, read_rows, unpack, write_row
from userlib.errors import UserError
from userlib.evaluation import METRICS, Ranks, recalls

FACTS = {"study": "queue", "variant": "a", "of": "a", "seed": 0, "key": "k"}


def some_ranks(seed: int, high: int = 900) -> Ranks:
    rng = np.random.default_rng(seed)
    each = rng.integers(1, 6, 20)
    owner = rng.permutation(np.repeat(np.arange(20), each))
    return Ranks(i2t=rng.integers(1, high, 20), t2i=rng.integers(1, high, len(owner)), caption_to_image=owner)


@given(st.integers(0, 10_000), st.sampled_from([900, 90_000]))
def test_packed_ranks_are_the_same_ranks(seed, high):
    ranked = some_ranks(seed, high)
    back = unpack(pack(ranked, "x"), "x")
    assert np.array_equal(back.i2t, ranked.i2t)
    for picture in range(20):  # captions are sorted by picture, in their old order
        assert np.array_equal(
            back.t2i[back.caption_to_image == picture], ranked.t2i[ranked.caption_to_image == picture]
        )
    assert [getattr(recalls(back), m) for m in METRICS] == [getattr(recalls(ranked), m) for m in METRICS]


def test_a_row_comes_back(tmp_path):
    ranked = some_ranks(1)
    arrays = {**pack(ranked, "report"), "report_group": np.arange(20, dtype=np.uint8) % 2}
    write_row(tmp_path / "a-0.json", {**FACTS, "groups": ["in-distribution", "novel compositions"]}, arrays)
    (row,) = read_rows(tmp_path)
    assert (row.variant, row.seed) == ("a", 0)
    assert np.array_equal(row.ranks().i2t, ranked.i2t)
    assert row.groups()["novel compositions"].tolist() == [False, True] * 10
    with pytest.raises(UserError, match="no ranks 'many'"):
        row.ranks("many")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-0.json", "a-0.npz"]


def test_the_json_is_written_last(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_row(tmp_path / "a-0.json", {**FACTS, "x": float("nan")}, pack(some_ranks(1), "report"))
    assert not (tmp_path / "a-0.json").exists()


@pytest.mark.parametrize("harm", ["cut", "gone", "foreign", "pickled"])
def test_a_damaged_row_is_named(tmp_path, harm):
    file = tmp_path / "a-0.json"
    write_row(file, FACTS, pack(some_ranks(1), "report"))
    arrays = file.with_suffix(".npz")
    if harm == "cut":
        arrays.write_bytes(arrays.read_bytes()[:100])
    elif harm == "gone":
        arrays.unlink()
    elif harm == "foreign":
        file.write_text(json.dumps({"seed": 0}))
    else:
        np.savez(arrays, report_i2t=np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"a-0\.json is damaged"):
        read_row(file)


def test_a_row_of_an_earlier_version_has_the_names_of_today(tmp_path):
    row = {"cell" if name == "variant" else name: value for name, value in FACTS.items()}
    write_row(tmp_path / "old.json", row, pack(some_ranks(1), "report"))
    assert "variant" not in json.loads((tmp_path / "old.json").read_text())
    assert read_row(tmp_path / "old.json").variant == "a"
