"""Arguments from Python: numbers of numpy are Python's, and a value of another type is refused by its name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.model.test_hub import Colours
from userlib import (
    CGE,
    GPO,
    SGE,
    DualQueue,
    HingeLoss,
    Index,
    MomentumContrast,
    UserError,
    UTOLoss,
    fit,
    load_data,
    prepare,
    recall_at_k,
)
from userlib.arguments import checked
from userlib.model.momentum import update
from userlib.model.pooling import make_pooling
from userlib.search.ann import hnsw

V, MASK = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
NOTHING = torch.tensor([[True, True, False], [False] * 3])


@checked
def take(
    whole: int = 1,
    number: float | None = None,
    *rest: int,
    text: str | Path = "",
    many: Sequence[str] = (),
    tensor: Tensor | None = None,
    on: bool = False,
    later: "Unknown" = None,  # noqa: F821
    **more: Any,
) -> tuple[Any, ...]:
    return whole, number, text, many, tensor, on, rest, more


def test_what_fits_comes_through():
    assert take(np.int64(3), np.float32(0.5)) == (3, 0.5, "", (), None, False, (), {})
    assert type(take(np.int64(3))[0]) is int
    assert take(2, 1, 5, 6, text=Path("a"), many=["b"], on=1, later=object(), other=2)[6:] == (
        (5, 6),
        {"other": 2},
    )


def test_what_can_be_read_only_once_becomes_a_tuple():
    assert take(many=(name for name in "ab"))[3] == ("a", "b")
    assert take(many=["a"])[3] == ["a"]


@pytest.mark.parametrize(
    "given, said",
    [
        ({"whole": "3"}, "whole is '3'; it must be a whole number."),
        ({"whole": 3.0}, "whole is 3.0; it must be a whole number."),
        ({"whole": True}, "whole is True; it must be"),
        ({"whole": None}, "whole is None; it must be"),
        ({"number": "x"}, "number is 'x'; it must be a number or none."),
        ({"text": b"a"}, "text is b'a'; it must be a text or a path."),
        ({"many": "abc"}, "many is 'abc'; it must be a list."),
        ({"tensor": np.zeros(3)}, "tensor is of the type ndarray; it must be a Tensor or none."),
        ({"on": "False"}, "on is 'False'; it must be"),
    ],
)
def test_what_does_not_is_named(given, said):
    with pytest.raises(UserError) as error:
        take(**given)
    assert said in str(error.value)
    with pytest.raises(TypeError, match="unexpected keyword argument 'another'"):
        recall_at_k(np.eye(2), np.eye(2), another=1)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: SGE("64"), "dim is '64'"),
        (lambda: CGE(8, guide_dim=4.0), "guide_dim is 4.0"),
        (lambda: GPO(temperature="x"), "temperature is 'x'"),
        (
            lambda: CGE(4, guide_dim=5)(V, guide=torch.zeros(2, 6)),
            r"the guide has the shape \(2, 6\); .*\(2, 5\)",
        ),
        (lambda: HingeLoss(hardest="no"), "hardest is 'no'"),
        (lambda: UTOLoss()(np.eye(3)), "scores is of the type ndarray; it must be a Tensor"),
        (lambda: UTOLoss()(torch.eye(3), [0, 1, 2]), "image_ids is of the type list"),
        (lambda: UTOLoss()(torch.empty(0, 0)), r"the scores have the shape \(0, 0\)"),
        (lambda: recall_at_k(np.eye(3), np.eye(3), k=1.5), "k is 1.5; it must be a whole number"),
        (lambda: recall_at_k(np.eye(3), np.eye(3), k=float("nan")), "k is nan"),
        (lambda: recall_at_k(None, np.eye(3)), "images are of type object"),
        (
            lambda: DualQueue(4, 3).enqueue(torch.ones(2, 5), torch.ones(2, 3), torch.arange(2)),
            r"image keys .*\(B, 3\)",
        ),
        (
            lambda: DualQueue(4, 3).enqueue(torch.ones(2, 3), torch.ones(2, 3), np.arange(2)),
            "ids is of the type ndarray",
        ),
        (
            lambda: MomentumContrast(nn.Identity(), nn.Identity(), dim=3, loss=UTOLoss),
            "loss is of the type type",
        ),
        (lambda: MomentumContrast(nn.Identity(), nn.Identity(), dim=3, momentum="0.9"), "momentum is '0.9'"),
        (lambda: update(nn.Identity(), nn.Identity(), "0.9"), "m is '0.9'"),
        (lambda: load_data(None), "name is None; it must be a text or a path"),
        (
            lambda: load_data("scenes", sizes={"val": "2"}),
            "sizes is .'val': '2'.; it must be a mapping of names",
        ),
        (lambda: load_data("scenes", sizes=2), "sizes is 2; it must be a mapping"),
        (lambda: fit("scenes"), "prepared is 'scenes'; it must be a Prepared or a Config"),
        (lambda: prepare(None), "config is None; it must be a Config"),
        (
            lambda: hnsw(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32), 2, M=0),
            "M is 0; it must be",
        ),
    ],
)
def test_the_library_names_what_it_cannot_take(call, said):
    with pytest.raises(UserError, match=said):
        call()


def test_an_index_names_what_it_cannot_take(tmp_path, cache):
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    data = load_data(tmp_path)  # a path is as good as its name
    index = Index.build(tmp_path, Colours(), progress=False)
    assert [hit.id for hit in index.search("red", np.int64(3))] == ["red.png"]
    for call, said in (
        (lambda: index.search("red", 2.5), "k is 2.5"),
        (lambda: index.search(None), "text is None; it must be a text"),
        (lambda: index.search(["red"]), "text is of the type list"),
        (lambda: index.search("\udcff red"), "has a character that no text has"),
        (lambda: index.similar(tmp_path / "red.png"), "image is .*; it must be a text or an Image"),
        (lambda: index.encode_text("red"), "texts is 'red'; it must be a list"),
        (
            lambda: Index.build(data, Colours()),
            "source is of the type RetrievalData; it must be a text or a path or a Split",
        ),
        (lambda: Index.build(tmp_path, None), "model is None"),
        (lambda: Index.load(None, Colours()), "folder is None"),
        (lambda: index.save("~/index"), "only a shell reads ~ as the home folder"),
    ):
        with pytest.raises(UserError, match=said):
            call()


@pytest.mark.parametrize("name", ["mean", "max", "gpo", "esa", "views"])
def test_a_set_of_nothing_is_no_nan(name):
    pool = make_pooling(name, 4).eval()
    with torch.no_grad():
        assert pool(SGE(4).eval()(V, NOTHING), NOTHING).isfinite().all()
    for mask in (MASK.long(), MASK.float(), MASK[:, :2]):
        with pytest.raises(UserError, match=r"it must be bool \(B, N\), True where there is a vector"):
            pool(V, mask)
    with pytest.raises(UserError, match=r"the vectors have the shape \(3, 4\); it must be \(B, N, 4\)"):
        SGE(4)(V[0])


def test_arrays_of_any_layout_are_ranked():
    eye = np.eye(3, dtype=np.float32)
    for array in (
        eye.astype(">f4"),
        eye.astype(np.longdouble),
        eye[::-1],
        np.asfortranarray(eye),
        eye.tolist(),
    ):
        assert recall_at_k(array, array) == (100.0, 100.0)
