"""Data sets and backbones by name, added from outside."""

import pytest

from userlib.data.extractors import make_extractor
from userlib.data.registry import BACKBONES, DATASETS, Registry
from userlib.data.sources import load_data
from userlib.errors import UserError


def test_what_is_registered_is_found_by_name_and_given_what_was_asked(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_targets", dict(BACKBONES._targets))
    monkeypatch.setattr(DATASETS, "_targets", dict(DATASETS._targets))
    BACKBONES.register("mynet", lambda spec, *, weights, device: (spec, weights, device))
    DATASETS.register("flowers", lambda name, sizes, *, progress: (name, sizes, progress))
    assert make_extractor("mynet:large") == ("mynet:large", None, "cpu")
    assert make_extractor("mynet") == ("mynet", None, "cpu")
    assert load_data("flowers", sizes={"train": 3}) == ("flowers", {"train": 3}, False)


def test_a_folder_of_the_same_name_is_not_taken_in_silence(tmp_path, monkeypatch):
    monkeypatch.setattr(DATASETS, "_targets", dict(DATASETS._targets))
    DATASETS.register("flowers", lambda name, sizes, *, progress: name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers").mkdir()
    load_data("flowers")  # an empty folder is no data
    (tmp_path / "flowers" / "a.txt").write_text("1")
    with pytest.warns(
        UserWarning, match=r"data set of that name; for the folder flowers that is here, write \./"
    ):
        assert load_data("flowers") == "flowers"


def test_the_backbones_that_come_along_are_found_as_ones_own_are():
    own = {"region-mini", "clip-mini", "efficientnet-lite2", "efficientnet-lite2-wide", "vectors", "pixels"}
    assert set(BACKBONES) == {"timm", "open_clip"} | own
    assert all(callable(BACKBONES[name]) for name in BACKBONES)
    for wrong in ("timm", "timm:", "open_clip", "region-mini:x", "clip-mini:x", ":", "", "x:y"):
        with pytest.raises(UserError, match=f"There are no tokens called {wrong!r}"):
            make_extractor(wrong)
    with pytest.raises(UserError, match="There is a backbone 'timm' already"):
        BACKBONES.register("timm", lambda spec, *, weights, device: None)


def test_a_registry_imports_late_and_names_what_is_wrong():
    registry = Registry("thing", sqrt="math:sqrt", lost="math:nothing")
    assert registry["sqrt"](9.0) == 3.0 and "sqrt" in registry and list(registry) == ["sqrt", "lost"]
    with pytest.raises(UserError, match="The thing 'lost' comes from math:nothing, which cannot be imported"):
        registry["lost"]
    with pytest.raises(UserError, match="There is a thing 'sqrt' already"):
        registry.register("sqrt", "cmath:sqrt")
    with pytest.raises(UserError, match="'math.sqrt' cannot be registered"):
        registry.register("root", "math.sqrt")
