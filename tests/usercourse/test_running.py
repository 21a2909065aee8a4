"""What notebook 09 uses: settings by kind of data, interruptions, bits compared, folds, folders in the hub's schema."""

import importlib.util
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from usercourse import running
from userlib.checkpoints import write_checkpoint
from userlib.config import TrainingConfig
from userlib.data.sources import load_data
from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.evaluation import METRICS, fold_average
from userlib.files import write_checksummed
from userlib.presets import preset
from userlib.progress import Progress
from userlib.training.schedule import batch_indices

NAME = "09_train_user"
START = subprocess.Popen


@given(st.floats(-8, 8), st.floats(-8, 8), st.integers(1, 6))
def test_the_pencil_s_optimizer_is_sgd_with_momentum(lift, x, u, steps):
    weight = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.5)
    optimizer.load_state_dict(
        {**optimizer.state_dict(), "state": {0: {"momentum_buffer": torch.tensor([u], dtype=torch.float64)}}}
    )
    for _ in range(steps):
        optimizer.zero_grad()
        (weight**2 / 2).sum().backward()
        optimizer.step()
    assert np.isclose(lift(NAME).descend(x, u, steps)[0], weight.item())


def test_the_pencil_s_numbers_are_those_of_the_text(lift):
    assert lift(NAME).descend(8.0, 0.0, 4)[2] == [4, 0, -2, -2]


@pytest.mark.parametrize("captions, batch", [(10, 3), (12, 4), (5, 5), (30, 4)])
def test_the_notebook_s_batches_are_the_trainer_s(notebooks, captions, batch):
    rows_of = notebooks.solve(NAME, "rows_of")
    for step in range(25):
        expected = batch_indices(step, captions, TrainingConfig(batch_size=batch, seed=3))
        assert rows_of(step, captions, batch, 3).tolist() == expected.tolist()


def vectors(pictures=12, each=3, seed=0):
    """Unit vectors of images and of captions near them."""
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(pictures, 8)).astype(np.float32)
    owner = np.repeat(np.arange(pictures), each)
    t = v[owner] + rng.normal(size=(len(owner), 8)).astype(np.float32)
    v, t = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (v, t))
    return v, t, owner


@pytest.mark.parametrize("size", [2, 3, 6, 12])
def test_folds_are_the_library_s(notebooks, size):
    v, t, owner = vectors()
    expected = fold_average(v, t, owner, size=size)
    for metric in METRICS:
        mean = np.mean([getattr(one, metric) for one in running.fold_metrics(v, t, owner, size)])
        assert np.isclose(mean, getattr(expected, metric))
    assert np.isclose(notebooks.solve(NAME, "fold_r1")(v @ t.T, owner, size), expected.t2i_r1)


def test_a_rest_is_left_out_of_the_folds():
    assert len(running.fold_metrics(*vectors(), 5)) == 2


def test_fold_sizes_divide():
    assert running.fold_sizes(500) == [25, 50, 100, 125, 250, 500]
    assert running.fold_sizes(7) == [7]


def test_the_sentence_on_folds_has_their_numbers():
    v, t, owner = vectors()
    _, sentence = running.folds_figure(v, t, owner, 4, "t2i_r5")
    values = [one.t2i_r5 for one in running.fold_metrics(v, t, owner, 4)]
    whole = running.fold_metrics(v, t, owner, 12)[0].t2i_r5
    assert sentence == (
        f"t2i R@5 over 3 folds of 4 images: {np.mean(values):.1f} on average, from {min(values):.1f} to "
        f"{max(values):.1f}; over all 12 images at once {whole:.1f}."
    )


def test_one_fold_is_called_one():
    assert "over 1 fold of 12 images" in running.folds_figure(*vectors(), 12)[1]


def test_scenes_are_the_full_model_with_four_looks(monkeypatch):
    monkeypatch.setenv("USERLIB_PROFILE", "fast")
    config = running.settings("scenes")
    assert (config.model.enhancement, config.data.guide, config.training.steps) == (
        "sge+cge",
        "clip-mini",
        60,
    )
    per_epoch = 5 * 1000 // config.training.batch_size
    assert round(config.training.evaluate_every * per_epoch) == 15
    assert running.settings("scenes", steps=20).training.steps == 20


def test_a_hub_name_has_the_preset_made_for_a_gpu(capsys):
    config = running.settings("nlphuji/flickr30k")
    assert config.data.data == "nlphuji/flickr30k"
    assert config.model == preset("clip-patches").model
    assert "fetched once" in capsys.readouterr().out
    named = running.settings("nlphuji/flickr30k", tokens="efficientnet-lite2")
    assert named.model == preset("photos").model and named.data.data == "nlphuji/flickr30k"
    assert named.data.tokens == "efficientnet-lite2" and named.data.guide is None


def test_a_folder_without_training_images_and_one_without_val_are_told(tmp_path, capsys):
    with pytest.raises(UserError, match="has no training images, only test"):
        running.settings(str(folder_of(tmp_path / "one", test=3)), tokens="region-mini")
    running.settings(str(folder_of(tmp_path / "two", train=10, test=3)), tokens="region-mini")
    assert "2 images of train are held out to select on; test is reported on." in capsys.readouterr().out


def test_hits_of_a_split_are_by_score_and_name_the_rank_of_the_query_s_own_image(tmp_path):
    split = small_split("test", 5)
    vectors = np.eye(5, 8, dtype=np.float32)

    class Encoder:
        def encode_text(self, texts):
            return np.array([[0.1, 0.9, 0.3, 0.4, 0.2, 0, 0, 0]], np.float32)

        def unknown(self, text):
            return ["caption"]

    figure, sentence = running.hits(Encoder(), split, vectors, split.captions[3 * 5], k=3)
    assert sentence == (
        f'Query "{split.captions[15]}": rank and score of the 3 best images of test. Its ground-truth image has '
        "rank 2 of 5. Words that the model does not know: caption."
    )
    assert [axis.get_title() for axis in figure.axes] == ["1: 0.90", "2: 0.40", "3: 0.30"]
    assert "ground-truth" not in running.hits(Encoder(), split, vectors, "a dog")[1]


def test_a_written_photo_folder_has_what_the_second_door_needs(tmp_path):
    original = small_split("train", 4)
    data = load_data(str(running.write_photo_folder(original, tmp_path / "mine", 3)))
    split = data.splits["train"]
    assert list(data.splits) == ["train"] and split.captions == original.captions[:15]
    assert (np.asarray(split.pictures[2]) == np.asarray(original.pictures[2])).all()


class Drawn:
    """Small images, each of its own colour."""

    def __init__(self, colours):
        self.colours = colours

    def __len__(self):
        return len(self.colours)

    def __getitem__(self, i):
        return Image.new("RGB", (5, 4), tuple(self.colours[i]))


def small_split(name, pictures, seed=0):
    colours = np.random.default_rng([seed, *name.encode()]).integers(0, 256, (pictures, 3))
    return Split(
        name=name,
        ids=tuple(f"{name}/{i}" for i in range(pictures)),
        pictures=Drawn(colours.tolist()),
        captions=tuple(f"caption {j} of {name} {i}" for i in range(pictures) for j in range(5)),
        caption_to_image=np.repeat(np.arange(pictures), 5),
        fingerprint=name,
    )


def folder_of(folder, **sizes):
    running.write_hub_folder({name: small_split(name, count) for name, count in sizes.items()}, folder)
    return folder


def test_a_written_folder_is_read_as_it_was(tmp_path):
    folder = folder_of(tmp_path / "mine", train=3, val=2, test=2)
    data = load_data(str(folder))
    assert list(data.splits) == ["train", "val", "test"]
    for name, split in data.splits.items():
        original = small_split(name, len(split))
        assert split.captions == original.captions
        assert (split.caption_to_image == original.caption_to_image).all()
        for i in range(len(split)):
            assert (np.asarray(split.pictures[i]) == np.asarray(original.pictures[i])).all()


@pytest.mark.parametrize(
    "sizes, select, report",
    [
        ({"train": 10, "val": 2, "test": 2}, "val", "test"),
        ({"train": 10, "val": 2}, "train:2", "val"),
        ({"train": 10, "test": 2}, "train:2", "test"),
        ({"train": 10}, "val", "test"),  # both held out by prepare
    ],
)
def test_a_folder_chooses_and_reports_on_what_it_has(tmp_path, sizes, select, report):
    config = running.settings(str(folder_of(tmp_path, **sizes)), steps=7, tokens="region-mini")
    assert (config.data.val_split, config.data.test_split) == (select, report)
    assert (config.data.tokens, config.data.guide, config.model.enhancement) == (
        "region-mini",
        "clip-mini",
        "sge+cge",
    )
    assert config.training.steps == 7


def test_a_folder_with_weights_has_the_preset_for_photos(tmp_path):
    folder = folder_of(tmp_path, train=10, val=2)
    (folder / "network.safetensors").touch()
    with pytest.raises(UserError, match="no network.json next to it"):
        running.settings(str(folder))
    (folder / "network.json").write_text('{"model": "mobilenetv1_100"}')
    config = running.settings(str(folder))
    assert config.data.token_weights == str(folder / "network.safetensors")
    assert config.data.tokens == "timm:mobilenetv1_100"
    assert config.model == preset("photos").model


def test_tokens_for_photos_have_the_preset_for_photos(tmp_path):
    config = running.settings(str(folder_of(tmp_path, train=10, val=2)), tokens="efficientnet-lite2", steps=3)
    base = preset("photos")
    assert config.model == base.model and config.objective == base.objective and config.training.steps == 3
    assert (config.data.tokens, config.data.val_split) == ("efficientnet-lite2", "train:2")
    assert config.data.test_split == "val"


def checkpoint(folder, step, **tensors):
    """A run's folder with one checkpoint."""
    name = f"step-{step:08d}"
    write_checkpoint(folder / name, {key: torch.tensor(value) for key, value in tensors.items()}, {})
    write_checksummed(folder / "run.json", {"last": name})
    return folder


def test_a_run_has_reached_its_last_checkpoint(tmp_path):
    assert running.reached(tmp_path) == 0
    assert running.reached(checkpoint(tmp_path, 12, a=[1.0])) == 12


def test_equal_bits_are_called_equal_and_others_are_named(tmp_path):
    one = checkpoint(tmp_path / "one", 3, a=[1.0, 2.0], b=[3])
    same = checkpoint(tmp_path / "same", 3, a=[1.0, 2.0], b=[3])
    hair = checkpoint(tmp_path / "hair", 3, a=[1.0, float(np.nextafter(np.float32(2), 3))], b=[3])
    less = checkpoint(tmp_path / "less", 3, a=[1.0, 2.0])
    assert running.bits(one, same) == running.Bits(2, 3, ())
    assert str(running.bits(one, same)) == "2 tensors with 3 values: every bit is the same."
    assert running.bits(one, hair).differing == ("a",)
    assert running.bits(one, less).differing == running.bits(less, one).differing == ("b",)
    assert str(running.bits(one, hair)).endswith("1 tensors differ, the first is a.")


@pytest.fixture
def lines(monkeypatch):
    """What progress has counted: (total, all steps that were made)."""
    made = []

    class Counted(Progress):
        def __init__(self, total, what):
            super().__init__(total, what, show=False)
            made.append((total, []))

        def step(self, count=1):
            super().step(count)
            made[-1][1].append(count)

    monkeypatch.setattr(running, "Progress", Counted)
    return made


def test_waiting_ticks_until_the_work_is_done(monkeypatch, lines):
    monkeypatch.setattr(running, "TICK_S", 0.01)
    with running.waiting("counting"):
        began = time.monotonic()
        while len(lines[0][1]) < 3 and time.monotonic() - began < 300:
            time.sleep(0.01)
    (total, steps), ticks = lines[0], len(lines[0][1])
    assert (total, steps[:3], steps[-1]) == (1, [0, 0, 0], 1)
    time.sleep(0.05)
    assert len(steps) == ticks


def test_waiting_that_fails_stops_ticking_and_is_not_done(monkeypatch, lines):
    monkeypatch.setattr(running, "TICK_S", 0.01)
    with pytest.raises(UserError), running.waiting("counting"):
        raise UserError("no such data")
    ticks = list(lines[0][1])
    time.sleep(0.05)
    assert lines[0][1] == ticks
    assert 1 not in ticks


def wait_for_the_button(folder):
    checkpoint(folder, 1, a=[1.0])
    for _ in range(30_000):  # the button is felt between two instructions, not within a long sleep
        time.sleep(0.01)


def test_stop_is_pressed_once_there_is_a_checkpoint(tmp_path):
    with pytest.raises(KeyboardInterrupt), running.stop_pressed(tmp_path):
        wait_for_the_button(tmp_path)


def test_nothing_is_pressed_without_a_checkpoint(tmp_path):
    with running.stop_pressed(tmp_path):
        time.sleep(0.1)
    checkpoint(tmp_path, 1, a=[1.0])
    time.sleep(0.1)


def child(monkeypatch, folder, code):
    """Runs `code` in the place of the trainer."""

    def popen(command, **options):
        assert command[1:4] == ["-m", "userlib", "train"]
        assert command[-1] == "--resume"
        return START([sys.executable, "-c", code], cwd=folder, **options)

    monkeypatch.setattr(running.subprocess, "Popen", popen)


def test_a_child_is_killed_after_its_checkpoint(monkeypatch, tmp_path, lines):
    folder = tmp_path / "run"
    checkpoint(folder, 5, a=[1.0])
    checkpoint(tmp_path / "later", 9, a=[1.0])
    child(
        monkeypatch,
        tmp_path,
        "import os, time\nos.rename('later/step-00000009', 'run/step-00000009')\n"
        "os.replace('later/run.json', 'run/run.json')\ntime.sleep(900)",
    )
    began = time.monotonic()
    said = running.killed(preset("scenes"), folder, after=9, grace_s=0.1)
    assert said == "killed, its last checkpoint is of step 9"
    (total, steps), *others = lines
    assert (total, steps[0], sum(steps), others) == (9, 5, 9, [])
    assert time.monotonic() - began < 600  # it would sleep longer


def test_a_child_that_ends_by_itself_says_why(monkeypatch, tmp_path):
    folder = checkpoint(tmp_path / "run", 5, a=[1.0])
    child(monkeypatch, tmp_path, "print('no such data'); raise SystemExit(2)")
    assert running.killed(preset("scenes"), folder, after=9) == "it ended by itself: no such data"
    child(monkeypatch, tmp_path, "")
    assert running.killed(preset("scenes"), folder, after=9) == "it had finished before it could be killed"


def test_the_timeline_says_who_did_what():
    sessions = [running.Session("here", 0, 4), running.Session("a process", 4, 8, lost=True)]
    figure, sentence = running.timeline(sessions, 10)
    assert sentence == (
        "Which process took which of the 10 steps: here from step 0 to 4; a process from step 4 to 8, and what it "
        "did after that is lost."
    )
    assert [bar.get_width() for bar in figure.axes[0].patches] == [4, 4]


def own_folder(folder, count):
    """Photos as people have them: drawn images beside a captions.csv without a split column."""
    lines = ["filename,caption"]
    for i, picture in enumerate(
        load_data("scenes", sizes={"train": count, "val": 1, "test": 1}).splits["train"].pictures
    ):
        picture.save(folder / f"{i:03d}.png")
        lines += [f"{i:03d}.png,a dog {i % 7} on a road", f"{i:03d}.png,a red car by a tree {i % 5}"]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_folder_of_one_s_own_without_splits_runs_from_settings_to_a_table(tmp_path, cache, capsys):
    from userlib.evaluation import bootstrap, embed, ranks
    from userlib.training import fit, prepare

    count = 60
    config = running.settings(str(own_folder(tmp_path, count)), steps=2, tokens="region-mini")
    assert capsys.readouterr().out == ""  # named, so nothing is to be told
    prepared = prepare(config, progress=False)
    told = capsys.readouterr().out
    assert "has no splits" in told and f"of its {count} images" in told
    parts = [len(part.split) for part in (prepared.train, prepared.val, prepared.test)]
    assert parts == [40, 10, 10]
    run = fit(prepared, progress=False)
    report = prepared.test
    assert len(bootstrap(ranks(*embed(run.encoders, report), report.caption_to_image), resamples=10)) > 6


@pytest.mark.parametrize("count", [12, 23])
def test_too_few_images_of_one_s_own_are_told_how_many_are_needed(tmp_path, cache, count):
    from userlib.training import prepare

    config = running.settings(str(own_folder(tmp_path, count)), steps=2, tokens="region-mini")
    with pytest.raises(
        UserError, match=f"{count} images and no splits.*at least 24 are needed.*column 'split'"
    ):
        prepare(config, progress=False)


def test_the_tokens_of_a_folder_are_chosen_or_told(tmp_path, monkeypatch, capsys):
    folder = str(folder_of(tmp_path, train=10))
    wanted = running.settings(folder, tokens="clip-mini").data
    assert (wanted.tokens, wanted.guide) == ("clip-mini", "clip-mini") and capsys.readouterr().out == ""
    monkeypatch.setattr(running, "PACKAGE", "json")  # one that is there
    chosen = running.settings(folder)
    assert (chosen.data.tokens, chosen.model) == ("efficientnet-lite2-wide", preset("photos").model)
    told = capsys.readouterr().out
    assert "Tokens by efficientnet-lite2-wide" in told and running.BETTER in told and "region-mini" in told
    monkeypatch.setattr(running, "PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="no network for photos on this machine. Choose one.*region-mini"):
        running.settings(folder)
    clip = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    assert (
        running.settings(folder, tokens=clip).data.tokens
        == running.settings(folder, tokens=clip).data.guide
        == clip
    )
    monkeypatch.setattr("usercourse.demo.photos.weights_at_hand", lambda: "ViT-B-32/laion2b_s34b_b79k")
    assert running.settings(folder).data.tokens == clip
    assert clip in capsys.readouterr().out


@pytest.mark.parametrize(
    "message, said",
    [
        ("give a smaller --batch-size.", "give a smaller training.batch_size."),
        ("Give a larger --set data.min_count.", "Give a larger data.min_count."),
        ("Use --val-split train:500, or", 'Use data.val_split = "train:500", or'),
        ("a longer --queue-size for", "a longer model.queue_size for"),
        ("add --resume to go on", "add fit(..., resume=True) to go on"),
        ("no option here: a -- b, x--y", "no option here: a -- b, x--y"),
    ],
)
def test_a_notebook_names_settings_in_place_of_options(monkeypatch, message, said):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert str(UserError(message)) == message
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert str(UserError(message)) == said


@pytest.mark.skipif(
    importlib.util.find_spec(running.PACKAGE) is None, reason="the network for photos is not installed"
)
def test_the_second_door_goes_from_a_folder_of_photos_to_a_search(tmp_path, cache, monkeypatch, capsys):
    from userlib.evaluation import embed
    from userlib.search import CheckpointEncoder
    from userlib.training import fit, prepare

    monkeypatch.setattr("usercourse.demo.photos.weights_at_hand", lambda: None)
    folder = tmp_path / "photos"
    folder.mkdir()
    config = running.settings(str(own_folder(folder, 24)), steps=2)
    prepared = prepare(config, progress=False)
    run = fit(prepared, out=tmp_path / "run", progress=False)
    told = capsys.readouterr().out
    assert "Tokens by efficientnet-lite2-wide" in told and "held out" in told
    images, split = embed(run.encoders, prepared.test)[0], prepared.test.split
    searcher = CheckpointEncoder(tmp_path / "run", device="cpu")
    figure, sentence = running.hits(searcher, split, images, split.captions[0], k=3)
    scores = images @ searcher.encode_text([split.captions[0]])[0]
    assert [axis.get_title() for axis in figure.axes] == [
        f"{rank}: {score:.2f}" for rank, score in enumerate(sorted(scores, reverse=True)[:3], 1)
    ]
    assert f"of {len(split)}." in sentence
