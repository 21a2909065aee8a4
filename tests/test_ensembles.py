"""An ensemble is the mean of scores of models that may differ in all but the images."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.data.copies import write_scan
from tests.test_scoring import checkpoint, config, folder, run  # noqa: F401
from userlib import commands, ensembles, scoring
from userlib.ensembles import joined
from userlib.evaluation import embed, ranks_from_scores, recalls
from userlib.model.user import load_model
from userlib.training import pairs_of, splits_of


def vectors_of(one, split):
    loaded = load_model(one)
    pairs = pairs_of(loaded.config, split, loaded.tokenizer)
    return embed(loaded.model, pairs), pairs.caption_to_image


def test_the_mean_of_scores_of_two_kinds_of_model(folder, tmp_path, capsys):  # noqa: F811
    one = checkpoint(tmp_path / "one", config(folder))
    two = checkpoint(tmp_path / "two", config(folder, embed_dim=16, enhancement="sge"))
    assert run("--ensemble", one, two, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    split = splits_of(config(folder)).split("test")
    (a, b), owner = vectors_of(one, split)
    (c, d), _ = vectors_of(two, split)
    wanted = recalls(ranks_from_scores((a @ b.T + c @ d.T) / 2, owner))
    tables = document["tables"]
    assert tables["ensemble"]["rsum"][0] == pytest.approx(wanted.rsum)
    assert set(tables) == {"ensemble", one, two, f"ensemble - {one}", f"ensemble - {two}"}
    assert document["ensemble"] == [one, two] and document["checkpoints"] == []
    assert np.allclose(joined([a, c]) @ joined([b, d]).T, (a @ b.T + c @ d.T) / 2, atol=1e-6)


def test_it_is_said_apart_from_seeds(folder, tmp_path, capsys):  # noqa: F811
    made = config(folder)
    one = checkpoint(tmp_path / "one", made)
    two = checkpoint(tmp_path / "two", replace(made, training=replace(made.training, seed=1)))
    assert run("--ensemble", one, two) == 0
    assert "the mean of 2 models' scores (an ensemble, no seeds)" in capsys.readouterr().out
    assert run("--checkpoint", one, two) == 0
    assert "and 2 seeds" in capsys.readouterr().out


def test_what_is_no_ensemble_is_refused(folder, tmp_path, capsys):  # noqa: F811
    one = checkpoint(tmp_path / "one", config(folder))
    assert run("--ensemble", one) == 2 and "name two or more different models" in capsys.readouterr().err
    for same in (one, f"{one}/", str(tmp_path / "two" / ".." / "one")):
        assert run("--ensemble", one, same) == 2
        assert "name two or more different models" in capsys.readouterr().err
    assert run("--ensemble", one, "--checkpoint", one) == 2 and "give only one" in capsys.readouterr().err
    other = write_scan(tmp_path / "other", {"train": 8, "val": 4, "test": 6})
    two = checkpoint(tmp_path / "two", config(other))
    assert run("--ensemble", one, two) == 2
    assert "have different images" in capsys.readouterr().err


@pytest.mark.parametrize("module, flag", [(ensembles, "--ensemble"), (commands, "--against")])
def test_other_captions_of_the_same_images_are_refused(module, flag, folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    """The fingerprint of a split of photos leaves captions out, so that tokens stay when a caption changes."""
    one, two = checkpoint(tmp_path / "one", config(folder)), checkpoint(tmp_path / "two", config(folder))
    real = scoring.data_of

    def data_of(settings, model, **named):
        data = real(settings, model, **named)
        test = data.split("test")
        other = replace(test, captions=test.captions[::-1]) if model.folder == two else test
        return replace(data, splits=data.splits | {"test": other})

    monkeypatch.setattr(module, "data_of", data_of)
    words = ("--ensemble", one, two) if flag == "--ensemble" else ("--checkpoint", one, "--against", two)
    assert run(*words) == 2
    assert "have different images or captions" in " ".join(capsys.readouterr().err.split())


def test_a_model_with_a_scorer_is_refused(folder, tmp_path, capsys):  # noqa: F811
    """Its own scores are the scorer's, which the mean of embeddings' scores would leave out untold."""
    one = checkpoint(tmp_path / "one", config(folder))
    two = checkpoint(tmp_path / "two", config(folder, scorer="chan"))
    for group in ((one, two), (two, one)):
        assert run("--ensemble", *group) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"{two} has the scorer 'chan'" in said and "Score it by --checkpoint" in said


def test_an_ensemble_is_not_compared_on_other_images(folder, tmp_path, capsys):  # noqa: F811
    made = [
        replace(config(folder), data=replace(config(folder).data, val_split=f"train:{n}")) for n in (2, 2, 3)
    ]
    one, two, other = (checkpoint(tmp_path / str(n), each) for n, each in enumerate(made))
    assert run("--ensemble", one, two, "--against", other, "--split", "select") == 2
    assert f"the split 'select' of {one} and that of {other} have different images" in capsys.readouterr().err
    assert run("--ensemble", one, two, "--against", other, "--split", "test") == 0
