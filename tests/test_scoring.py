"""What may be scored together and by which tokens: everything else is refused before it can be a wrong number."""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.copies import write_scan
from tests.reference.runs import run_config, words, write_learnable
from userlib import commands, scoring
from userlib.__main__ import main
from userlib.config import Config, DataConfig, ModelConfig, TrainingConfig
from userlib.data.extractors import check_made_by, choose_device, made_by
from userlib.data.splits import RetrievalData, Split
from userlib.data.tokenizers import WordTokenizer
from userlib.errors import UserError
from userlib.evaluation import bootstrap, ranks
from userlib.files import read_json
from userlib.model.user import DualEncoder, Loaded, save_model
from userlib.scoring import Trained, check_seeds, with_flags
from userlib.training import prepare, splits_of
from userlib.training.preparing import arranged, cut_note, fitted

SMALL = ModelConfig(
    regions=36,
    region_dim=8,
    embed_dim=8,
    text_width=8,
    word_width=8,
    vocab_size=8,
    queue_size=0,
    momentum=0.9,
)


def config(data: Path, **settings) -> Config:
    made = DataConfig(data=str(data), tokens="precomputed", val_split="val", test_split="test")
    return Config(data=made, model=replace(SMALL, **settings), training=TrainingConfig(batch_size=4))


def checkpoint(folder: Path, made: Config, **metadata) -> str:
    torch.manual_seed(made.training.seed)
    about = {"data": made.data.data, "fingerprint": splits_of(made).fingerprint, **metadata}
    about.setdefault("made_by", made_by(made.data.tokens, guide=made.data.guide))
    save_model(folder, DualEncoder(made.model), WordTokenizer(["a", "b", "c"]), made, about)
    return str(folder)


@pytest.fixture
def folder(tmp_path, cache) -> Path:
    return write_scan(tmp_path / "precomp", {"train": 8, "val": 4, "test": 5})


def run(*words) -> int:
    return main(["evaluate", *map(str, words)])


def test_other_data_need_no_split_to_train_on(folder, tmp_path, capsys):
    """A checkpoint whose selection was cut out of train is scored on a set of one split, test."""
    made = config(folder)
    made = replace(made, data=replace(made.data, val_split="train:2", sizes={"train": 6}))
    one = checkpoint(tmp_path / "one", made)
    other = write_scan(tmp_path / "other", {"test": 7})
    assert run("--checkpoint", one, "--data", other, "--split", "test", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["data"] == str(other) and document["data_hash"] != splits_of(made).fingerprint
    assert set(document["tables"]) == {"model"}
    assert run("--checkpoint", one, "--data", other, "--split", "val") == 2
    assert "has no split 'val'; it has: test" in capsys.readouterr().err


def test_own_data_that_were_moved_keep_their_slices(folder, tmp_path, capsys):
    made = config(folder)
    made = replace(made, data=replace(made.data, val_split="train:2"))
    one = checkpoint(tmp_path / "one", made)
    shutil.copytree(folder, tmp_path / "moved", copy_function=shutil.copy)
    shutil.rmtree(folder)
    assert run("--checkpoint", one, "--data", tmp_path / "moved", "--split", "select", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    (note,) = document["notes"]
    assert note.startswith("scores on 'select' are too high, since it chose the epoch of this checkpoint")


@pytest.mark.parametrize("flags", [[], ["--baseline", "cca"], ["--val-split", "val"]])
@pytest.mark.parametrize("count", [4, 9])
def test_other_data_are_not_cut_to_the_sizes_of_the_own(folder, tmp_path, capsys, monkeypatch, flags, count):
    """Nor refused where they are smaller."""
    made = config(folder)
    one = checkpoint(tmp_path / "one", replace(made, data=replace(made.data, sizes={"train": 6, "test": 5})))
    other = write_scan(tmp_path / "other", {"train": 12, "val": 4, "test": count})
    scored: list[int] = []
    pairs_for = commands.pairs_for
    monkeypatch.setattr(commands, "pairs_for", lambda *a: scored.append(len(a[1])) or pairs_for(*a))
    assert run("--checkpoint", one, "--data", other, "--split", "test", "--json", *flags) == 0
    assert scored == [count]
    whole = splits_of(config(other)).fingerprint
    assert json.loads(capsys.readouterr().out)["data_hash"] == whole


def test_the_baseline_lacks_no_word(folder, capsys):
    """It reads captions as text, and has no vocabulary that could lack some."""
    words = ["--baseline", "cca", "--data", folder, "--tokens", "precomputed", "--split", "test", "--json"]
    assert run(*words) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["tables"].keys() == {"cca"} and "vocabulary" not in said.err


@pytest.mark.parametrize(
    "flags, left", [([], 4), (["--baseline", "cca"], 4), (["--val-split", "train:1"], 5)]
)
def test_own_data_that_were_moved_keep_their_sizes(folder, tmp_path, capsys, flags, left):
    made = config(folder)
    made = replace(made, data=replace(made.data, val_split="train:2", sizes={"train": 6, "test": 3}))
    one = checkpoint(tmp_path / "one", made)
    shutil.copytree(folder, tmp_path / "moved", copy_function=shutil.copy)
    shutil.rmtree(folder)
    assert run("--checkpoint", one, "--data", tmp_path / "moved", "--json", *flags) == 0
    moved = replace(
        made, data=replace(made.data, data=str(tmp_path / "moved"), val_split=f"train:{6 - left}")
    )
    assert json.loads(capsys.readouterr().out)["data_hash"] == splits_of(moved).fingerprint


@pytest.mark.parametrize("own", ["val", "train:2"])
@pytest.mark.parametrize("fingerprint", [None, "before"])
def test_another_slice_is_no_change_of_the_data(folder, tmp_path, capsys, own, fingerprint):
    """Unless the data have changed as well."""
    made = config(folder)
    made = replace(made, data=replace(made.data, val_split=own))
    about = {} if fingerprint is None else {"fingerprint": fingerprint}
    one = checkpoint(tmp_path / "one", made, **about)
    assert run("--checkpoint", one, "--baseline", "cca", "--val-split", "train:3", "--json") == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("have changed since" in note for note in notes) is (fingerprint is not None)


@pytest.mark.parametrize(
    "own, now, split, why",
    [
        ("val", "train:3", "select", "the model was trained on it"),
        ("val", "train:3", "val", "it chose the epoch of this checkpoint"),
        ("val:2", "val", "val", "it chose the epoch of this checkpoint"),
        ("val", "test:2", "select", None),
    ],
)
def test_another_slice_of_what_was_trained_on_is_told(folder, tmp_path, capsys, own, now, split, why):
    made = config(folder)
    one = checkpoint(tmp_path / "one", replace(made, data=replace(made.data, val_split=own)))
    assert run("--checkpoint", one, "--val-split", now, "--split", split, "--json") == 0
    notes = [note for note in json.loads(capsys.readouterr().out)["notes"] if "too high" in note]
    assert len(notes) == (why is not None) and all(str(why) in note for note in notes)


def test_data_that_changed_are_told(folder, tmp_path, capsys):
    one = checkpoint(tmp_path / "one", config(folder), fingerprint="before")
    assert run("--checkpoint", one, "--json") == 0
    assert "have changed since" in json.loads(capsys.readouterr().out)["notes"][0]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"enhancement": "sge"}, "its model.enhancement is 'sge', and there it is 'none'"),
        ({"embed_dim": 16}, "its model.embed_dim is 16, and there it is 8"),
    ],
)
def test_models_of_two_kinds_are_no_seeds(folder, tmp_path, capsys, change, said):
    one = checkpoint(tmp_path / "one", config(folder))
    other = config(folder, **change)
    two = checkpoint(tmp_path / "two", replace(other, training=replace(other.training, seed=1)))
    assert run("--checkpoint", one, two) == 2
    assert said in capsys.readouterr().err
    assert run("--checkpoint", one, "--against", two, "--json") == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    model, against, difference = (
        {name: value for name, (value, *_) in tables[key].items()}
        for key in ("model", "against", "model - against")
    )
    assert difference == pytest.approx({name: model[name] - against[name] for name in model})
    assert any(difference.values())


@pytest.mark.parametrize(
    "given, pictures, tokens",
    [
        ({}, "own", "precomputed"),
        ({"data": "here"}, "own", "precomputed"),
        ({"data": "there"}, None, "precomputed"),
        ({"data": "there", "pictures": "theirs"}, "theirs", "precomputed"),
        ({"pictures": "theirs", "tokens": "clip-mini"}, "theirs", "clip-mini"),
    ],
)
def test_the_data_of_the_command_line_bring_their_own_pictures(given, pictures, tokens):
    made = Config(data=DataConfig(data="here", pictures="own", tokens="precomputed"))
    result = with_flags(made, argparse.Namespace(**given)).data
    assert (result.data, result.pictures, result.tokens) == (given.get("data", "here"), pictures, tokens)


def test_a_training_is_scored_by_groups_of_the_report_split(tmp_path, monkeypatch):
    """Each group by its own images, the whole by all, all with the seed of the training."""
    rng = np.random.default_rng(0)
    owner, groups = np.repeat(np.arange(12), 2), ("seen", "new") * 6
    vectors = rng.normal(size=(12, 4)).astype(np.float32), rng.normal(size=(24, 4)).astype(np.float32)
    made = Config(model=SMALL, training=TrainingConfig(seed=3))
    split = SimpleNamespace(name="test", groups=groups)
    prepared = SimpleNamespace(
        config=made, fingerprint="x", train=range(24), val=SimpleNamespace(split=SimpleNamespace(name="val")),
        test=SimpleNamespace(split=split, caption_to_image=owner),
    )  # fmt: skip
    done = SimpleNamespace(
        rows=[{"step": 1, "rsum": 5.0}],
        finished=True,
        seconds=1.0,
        encoders=SimpleNamespace(scorer=None, loaded=None),
    )
    monkeypatch.setattr(commands, "prepare", lambda *_, **__: prepared)
    monkeypatch.setattr(commands, "fit", lambda *_, **__: done)
    monkeypatch.setattr(commands, "embed", lambda *_: vectors)
    asked = argparse.Namespace(
        json=True, test_split="test", config=None, settings=[], resume=False, track=None
    )
    assert commands._train(asked, made, tmp_path) == 0
    report = read_json(tmp_path / "result.json")["report"]
    ranked = ranks(*vectors, owner)
    wanted = {g: bootstrap(ranked, images=np.array(groups) == g, seed=3) for g in ("seen", "new")}
    plain = {g: {name: list(one) for name, one in table.items()} for g, table in wanted.items()}
    assert report["groups"] == plain and plain["seen"] != plain["new"]
    assert report["metrics"] == {name: list(one) for name, one in bootstrap(ranked, seed=3).items()}


def trained(name: str, *, seed: int, **metadata) -> Trained:
    made = Config(model=SMALL, training=TrainingConfig(seed=seed))
    return Trained(name, Loaded(None, None, made, metadata), made, "cpu", ())


def test_seeds_are_different_runs_on_the_same_data_and_tokens():
    tokens = {"tokens": {"weights": "1", "precision": "fp32"}, "guide": None}
    one = trained("one", seed=0, fingerprint="x", made_by=tokens)
    check_seeds(
        [
            one,
            trained("two", seed=1, fingerprint="x", made_by=tokens),
            trained("three", seed=2, fingerprint="x", made_by=tokens),
        ]
    )
    bf16 = {"tokens": {"weights": "1", "precision": "bf16"}, "guide": None}
    check_seeds([one, trained("two", seed=1, fingerprint="x", made_by=bf16)])
    with pytest.raises(UserError, match="one and three have the same seed, 0"):
        check_seeds(
            [
                one,
                trained("two", seed=1, fingerprint="x", made_by=tokens),
                trained("three", seed=0, fingerprint="x", made_by=tokens),
            ]
        )
    with pytest.raises(UserError, match="two and three have the same seed, 1"):
        check_seeds(
            [one, *(trained(name, seed=1, fingerprint="x", made_by=tokens) for name in ("two", "three"))]
        )
    with pytest.raises(UserError, match="two and one were trained on different data"):
        check_seeds([one, trained("two", seed=1, fingerprint="y", made_by=tokens)])
    others = {"tokens": {"weights": "2", "precision": "fp32"}, "guide": None}
    with pytest.raises(UserError, match="two and one were trained on .* tokens"):
        check_seeds([one, trained("two", seed=1, fingerprint="x", made_by=others)])


def test_a_split_that_holds_other_images_is_not_compared(folder, tmp_path, capsys):
    made = [
        replace(config(folder), data=replace(config(folder).data, val_split=f"train:{n}")) for n in (2, 3)
    ]
    one, two = (checkpoint(tmp_path / str(n), each) for n, each in enumerate(made))
    assert run("--checkpoint", one, "--against", two, "--split", "select") == 2
    assert "have different images" in capsys.readouterr().err
    assert run("--checkpoint", one, "--against", two, "--split", "test", "--json") == 0


def test_tokens_that_do_not_fit_are_named(folder, tmp_path, capsys):
    made = config(folder, region_dim=64)
    one = checkpoint(tmp_path / "one", made)
    assert run("--checkpoint", one) == 2
    assert "the tokens' width of 'test' is 8, and the model in" in capsys.readouterr().err
    assert run("--checkpoint", one, "--tokens", "region-mini") == 2
    assert (
        "trained with the tokens 'precomputed', and those given are 'region-mini'" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "settings, said",
    [
        ({}, None),
        ({"regions": 4, "norm": "batch"}, None),
        ({"norm": "batch"}, "number of regions of 'test' is 4, .* trained with 36"),
        ({"region_dim": 9}, "tokens' width of 'test' is 8, .* trained with 9"),
        ({"guide_dim": 5}, None),
        ({"guide_dim": 6}, "guide's width of 'test' is 5, .* trained with 6"),
    ],
)
def test_numbers_that_a_model_was_not_trained_on_are_named(monkeypatch, settings, said):
    features = SimpleNamespace(tokens=np.zeros((2, 4, 8)), guide=np.zeros((2, 5)))
    monkeypatch.setattr(
        scoring, "pairs_of", lambda *_, **__: SimpleNamespace(features=features, pixels=lambda: None)
    )
    monkeypatch.setattr(scoring, "cut_note", lambda _: "cut")
    made = SimpleNamespace(model=SimpleNamespace(**{**vars(SMALL), **settings}))
    one = Trained("one", Loaded(None, None, made, {}), made, "cpu", ("a note",))
    split, notes = SimpleNamespace(name="test", captions=("a",)), []
    if said is None:
        assert scoring.pairs_for(one, split, notes).features is features
        assert notes == ["a note", "cut"]
    else:
        with pytest.raises(UserError, match=said):
            scoring.pairs_for(one, split, notes)


def test_an_evaluation_is_written_over_one_and_over_nothing_else(folder, tmp_path, capsys):
    one = checkpoint(tmp_path / "one", config(folder))
    out = tmp_path / "score.json"
    for _ in range(2):
        assert run("--checkpoint", one, "--out", out, "--json") == 0
    manifest = Path(one) / "manifest.json"
    before = manifest.read_bytes()
    assert run("--checkpoint", one, "--out", manifest) == 2
    assert "of another kind (it has no tables)" in capsys.readouterr().err
    assert manifest.read_bytes() == before


FP32 = {"tokens": {"spec": "timm:x", "kind": "timm", "weights": "a" * 64, "precision": "fp32"}, "guide": None}


def changed(**values) -> dict:
    return {**FP32, "tokens": {**FP32["tokens"], **values}}


def test_extractors_are_known_by_their_weights():
    assert check_made_by(FP32, FP32, where="runs/a") == []
    assert check_made_by({}, FP32, where="runs/a") == []  # an earlier version noted nothing
    with pytest.raises(
        UserError,
        match=r"tokens of runs/a were made by 'timm:x' with other weights \(aaaaaaaaaaaa, and now bbbbbbbbbbbb\)",
    ):
        check_made_by(FP32, changed(weights="b" * 64), where="runs/a")
    with pytest.raises(UserError, match="with other mean"):
        check_made_by(changed(mean=[1]), changed(mean=[2]), where="runs/a")
    with pytest.raises(UserError, match="trained with the guide 'none', and those given are 'clip-mini'"):
        check_made_by(FP32, {**FP32, "guide": {"spec": "clip-mini", "kind": "open_clip"}}, where="runs/a")
    told = check_made_by(changed(precision="bf16"), FP32, where="runs/a")
    assert told == [
        "The tokens are computed in fp32 here, but runs/a was trained on tokens in bf16: values may differ slightly."
    ]


def test_the_device_is_that_of_the_training_where_it_is_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device(None) == choose_device(None, "cuda") == choose_device("cpu", "cuda") == "cpu"
    for wrong in ("cuda", "cuda:0", "gpu", "cuda:x", ""):
        with pytest.raises(UserError, match="There is no device .* Choose one of cpu, or"):
            choose_device(wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(None) == choose_device(None, "cuda") == "cuda"
    assert choose_device(None, "cpu") == choose_device("cpu", "cuda:1") == "cpu"
    assert choose_device(None, "cuda:1") == choose_device("cuda:1", "cpu") == "cuda:1"
    assert choose_device(None, "cuda:7") == "cuda"
    with pytest.raises(UserError, match="Choose one of cpu, cuda, cuda:0, cuda:1"):
        choose_device("cuda:2")
    for rank, own in (
        ("1", "cuda:1"),
        ("7", "cuda"),
        ("x", "cuda"),
    ):  # each process of a launcher has its own
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert choose_device(None) == own and choose_device(None, "cuda:0") == "cuda:0"


@pytest.fixture
def weights(tmp_path) -> Path:
    """A network of timm's with its settings beside it."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    settings = {
        "model": "test_resnet", "kwargs": {"num_classes": 0}, "input_size": [3, 32, 32], "mean": [0.5] * 3,
        "std": [0.5] * 3, "range": "0-1",
    }  # fmt: skip
    network = timm.create_model("test_resnet", pretrained=False, num_classes=0).eval()
    shape = network.forward_features(torch.zeros(1, 3, 32, 32)).shape
    settings["tokens"] = {"shape": [shape[2] * shape[3], shape[1]], "grid": list(shape[2:])}
    file = tmp_path / "net.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, file)
    file.with_suffix(".json").write_text(json.dumps(settings))
    return file


def photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    lines = ["filename,caption"]
    for i in range(count):
        Image.fromarray(np.full((32, 32, 3), (40 * i % 256, 90 * i % 256, 7 * i), np.uint8)).save(
            folder / f"{i}.png"
        )
        lines.append(f"{i}.png,image {i} of colour {i % 5}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_weights_that_changed_or_moved_since_the_training(tmp_path, cache, weights, capsys):
    """Overwritten: an error that names the file. Moved: found again by --token-weights, in evaluate and search."""
    own = photos(tmp_path / "photos", 6)
    width = json.loads(weights.with_suffix(".json").read_text())["tokens"]["shape"]
    data = DataConfig(
        data=str(own),
        tokens="timm:test_resnet",
        token_weights=str(weights),
        val_split="train:2",
        test_split=None,
    )
    made = Config(data=data, model=replace(SMALL, regions=width[0], region_dim=width[1]))
    about = made_by(data.tokens, token_weights=weights)
    one = checkpoint(tmp_path / "one", made, made_by=about)
    asked = ["evaluate", "--checkpoint", one, "--split", "train", "--json"]
    find = ["search", "--checkpoint", one, "--query", "image", "--json"]
    for command in (asked, find):
        assert main(command) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    moved = weights.with_name("moved.safetensors")
    weights.rename(moved)
    weights.with_suffix(".json").rename(moved.with_suffix(".json"))
    for command in (asked, find):
        assert main(command) == 2
        assert "There is no weights file" in capsys.readouterr().err
        assert main([*command, "--token-weights", str(moved)]) == 0
        told = capsys.readouterr().out
        assert command is find or json.loads(told)["tables"] == first["tables"]
    from safetensors.torch import load_file, save_file

    save_file({k: v + 0.01 for k, v in load_file(moved).items()}, moved)
    for command in (asked, find):
        assert main([*command, "--token-weights", str(moved)]) == 2
        assert "with other weights" in capsys.readouterr().err


def test_sixty_photos_without_splits_are_divided_and_told(tmp_path):
    made = Config(
        data=DataConfig(data=str(photos(tmp_path / "photos", 60)), val_split="train:500", test_split="test")
    )
    said: list[str] = []
    data = splits_of(made, say=said.append)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 40,
        "test": 10,
        "select": 10,
    }
    assert len({i for split in data.splits.values() for i in split.ids}) == 60
    assert said == [
        "The data set 'photos' has no splits: of its 60 images 10 are held out as 'test' to report on, 10 (not 500, of "
        "so few) are held out to select the epoch on, and 40 train."
    ]
    again = splits_of(made)
    assert again.fingerprint == data.fingerprint and again.split("test").ids == data.split("test").ids


@pytest.mark.parametrize(
    "count, select, report, sizes",
    [
        (24, "val", "test", {"train": 16, "val": 4, "test": 4}),
        (24, "train:5", "test", {"train": 15, "select": 5, "test": 4}),
        (12, "train:5", None, {"train": 7, "select": 5}),
        (30, "val", None, {"train": 25, "val": 5}),
        (12, "train", None, {"train": 12}),
    ],
)
def test_what_is_held_out(tmp_path, count, select, report, sizes):
    made = Config(
        data=DataConfig(data=str(photos(tmp_path / "photos", count)), val_split=select, test_split=report)
    )
    assert {name: len(split) for name, split in splits_of(made).splits.items()} == sizes


@pytest.mark.parametrize("select, selected", [("val", 1000), ("train:500", 500)])
def test_of_many_images_a_thousand_are_held_out(select, selected):
    """To report on; and to select on, where no number is asked for."""
    ids = [str(i) for i in range(6600)]
    whole = Split.of("train", ids, [["a photo"]] * len(ids), ids, "f")
    data = RetrievalData(name="photos", splits={"train": whole}, fingerprint="f")
    held = arranged(data, DataConfig(val_split=select, test_split="test"))
    sizes = {name: len(split) for name, split in held.splits.items()}
    assert sizes.pop("test") == 1000 and sizes.pop("train") == 5600 - selected
    assert list(sizes.values()) == [selected]


def test_one_more_photo_moves_few_others(tmp_path):
    own = photos(tmp_path / "photos", 60)
    made = Config(data=DataConfig(data=str(own), val_split="val", test_split="test"))
    before = set(splits_of(made).split("test").ids)
    (own / "7.png").rename(own / "new.png")
    text = (own / "captions.csv").read_text()
    (own / "captions.csv").write_text(text.replace("\n7.png", "\nnew.png"))
    assert len(before - set(splits_of(made).split("test").ids)) <= 1


def test_twelve_photos_are_too_few_and_it_says_how_many_are_needed(tmp_path, cache, capsys, monkeypatch):
    monkeypatch.setattr("userlib.training.preparing.extract", None)  # no token is made
    own = photos(tmp_path / "photos", 12)
    assert (
        main(["train", "--data", str(own), "--val-split", "train:500", "--out", str(tmp_path / "run")]) == 2
    )
    assert (
        "has 12 images and no splits" in (said := capsys.readouterr().err)
        and "at least 24 are needed" in said
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--val-split", "vall"], "has no split 'vall' to select on; it has: train, val, test"),
        (
            ["--val-split", "val", "--test-split", "tets"],
            "has no split 'tets' to report on; it has: train, val, test",
        ),
        (["--val-split", "train:500"], "Cannot hold 500 images out of 'train', which has 8"),
    ],
)
def test_splits_are_checked_before_a_token_is_made(folder, tmp_path, capsys, monkeypatch, flags, said):
    monkeypatch.setattr("userlib.training.preparing.extract", None)
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", "--data", str(folder), "--tokens", "precomputed", *flags, *out]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "given, rc", [({"training": {"lr": 0.01}}, 0), ({"data": {"test_split": "test"}}, 2)]
)
def test_a_config_file_asks_for_the_report_only_where_it_names_one(tmp_path, capsys, given, rc):
    own = write_learnable(tmp_path / "data", {"train": 8, "val": 4})
    (tmp_path / "c.json").write_text(json.dumps(given))
    small = ["--steps", "1", "--batch-size", "8", "--set", "model.embed_dim=8", "--queue-size", "none"]
    places = ["--tokens", "precomputed", "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "run")]
    assert main(["train", "--data", str(own), *small, *places]) == rc
    said = capsys.readouterr()
    assert "no split 'test'" in (said.err if rc else said.out)
    assert (tmp_path / "run").exists() is (rc == 0)


@pytest.mark.parametrize("key", ["val_split", "test_split"])
def test_scores_on_what_is_trained_on_are_told(tmp_path, key):
    own = write_learnable(tmp_path / "data", {"train": 8, "val": 4})
    said: list[str] = []
    prepare(run_config(own, data={"test_split": None, key: "train"}), progress=False, say=said.append)
    assert [
        f"--{key.replace('_', '-')} names the split 'train'" in one and "memorised" in one for one in said
    ] == [True]


def test_data_that_are_gone_are_told_with_the_model_that_was_trained_on_them(tmp_path, capsys):
    own = write_learnable(tmp_path / "data", {"train": 8, "val": 4, "test": 4})
    config = run_config(own, steps=1)
    assert main(words(config, tmp_path / "c.json", tmp_path / "run")) == 0
    own.rename(tmp_path / "elsewhere")
    assert main(["evaluate", "--checkpoint", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'run'} was trained on {str(own)!r}" in said and "give --data" in said
    assert (
        main(["evaluate", "--checkpoint", str(tmp_path / "run"), "--data", str(tmp_path / "elsewhere")]) == 0
    )


def test_photos_without_captions_cannot_be_trained_on(tmp_path):
    own = photos(tmp_path / "photos", 3)
    (own / "captions.csv").unlink()
    with pytest.raises(
        UserError, match="has no captions, without which no model .*captions.csv .*tar file .*KEY.txt"
    ):
        splits_of(Config(data=DataConfig(data=str(own))))


def test_a_batch_larger_than_all_pairs_is_made_smaller_and_told():
    said: list[str] = []
    assert fitted(TrainingConfig(batch_size=128), 128, said.append).batch_size == 128 and not said
    assert fitted(TrainingConfig(batch_size=128), 40, said.append).batch_size == 10
    assert said == ["batch_size is 10 in place of 128: the train split has 40 captions."]
    assert fitted(TrainingConfig(batch_size=128), 3, said.append).batch_size == 2
    for part, captions, batch in ((16, 100, (16, 16)), (8, 100, (24, 8)), (32, 100, (25, None))):
        made = fitted(TrainingConfig(batch_size=128, micro_batch=part), captions, said.append)
        assert (
            made.batch_size,
            made.micro_batch,
        ) == batch  # whole parts, or one batch that is smaller than a part
    assert said[-1] == (
        "batch_size is 25 in place of 128, and micro_batch 32 is not used: the train split has 100 captions."
    )


def test_report_none_is_no_report():
    from userlib.__main__ import config_of, parser

    assert config_of(parser().parse_args(["train", "--test-split", "none"])).data.test_split is None


class Cut:
    """A tokenizer that reads three words."""

    longest = 3

    def is_cut(self, text: str) -> bool:
        return len(text.split()) > 3


def test_captions_past_the_context_are_counted_once():
    texts = ["a b c d", "a b c e", "a b c", "a b", "x y z z z"]
    ids = [np.array([ord(word) for word in text.split()[:3]]) for text in texts]
    pairs = argparse.Namespace(
        tokenizer=Cut(),
        split=argparse.Namespace(captions=texts),
        lengths=np.array([len(i) for i in ids]),
        ids=ids.__getitem__,
    )
    pairs.__class__.__len__ = lambda self: len(texts)
    try:
        said = cut_note(pairs)
    finally:
        del argparse.Namespace.__len__
    assert said == (
        "3 of 5 captions have more than the 3 tokens that the text tower can read, and are cut. This makes 1 of "
        "them equal to another."
    )


def test_tokenizers_tell_what_they_cut():
    from userlib.data.tokenizers import ClipTokenizer

    clip = ClipTokenizer("clip-mini")
    fits = "dog " * (clip.longest - 2)
    assert len(clip.encode(fits)) == clip.longest and not clip.is_cut(fits)
    assert clip.is_cut(fits + "dog") and not clip.is_cut("a dog")
    assert WordTokenizer(["a"]).longest is None and not WordTokenizer(["a"]).is_cut("a " * 500)


def test_the_launchers_rank_tells_the_main_process(monkeypatch):
    assert commands._main_process()
    monkeypatch.setenv("RANK", "1")
    assert not commands._main_process()


def test_other_data_take_neither_the_pictures_nor_the_sizes_of_the_own():
    made = Config(data=DataConfig(data="here", pictures="pictures", sizes={"train": 6}))
    flags = argparse.Namespace(data="there")
    assert scoring.with_flags(made, flags).data == DataConfig(data="there")
    assert scoring.with_flags(made, argparse.Namespace(data=None)).data == made.data


def test_a_training_tells_once_what_is_cut(tmp_path, monkeypatch):
    from tests.reference.runs import run_config, write_learnable

    said, asked = [], []
    monkeypatch.setattr(
        "userlib.training.preparing.cut_note",
        lambda *parts: asked.append([pairs.split.name for pairs in parts]) or "3 captions are cut",
    )
    prepare(run_config(write_learnable(tmp_path / "data")), progress=False, say=said.append)
    assert (asked, said.count("3 captions are cut")) == ([["train", "val", "test"]], 1)
