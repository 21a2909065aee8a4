"""How region-mini and clip-mini are made: the loop under a kill, drawing, targets, the byte-pair vocabulary."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from userlab.__main__ import main, parser
from userlab.pretraining import assets, bpe, drawing, regions
from userlab.pretraining.clip import clip_loss, pretrain_clip
from userlab.pretraining.drawing import NAMES, NOTHING, Wanted, drawn
from userlab.pretraining.loop import Schedule, optimise
from userlab.pretraining.settings import ClipConfig, RegionsConfig
from userlib.errors import UserError
from userlib.files import read_json, sha256_file
from userlib.verify import damage
from userscenes import make_world

# The same run as in the test, killed without warning when its fourth step begins.
KILLED = """
import os, signal, sys
from pathlib import Path
from userlab.pretraining import loop
from userlab.pretraining.clip import pretrain_clip
from userlab.pretraining.regions import pretrain_regions
from userlab.pretraining.settings import ClipConfig, RegionsConfig

whole = loop._step
def step(*parts):
    if parts[-1] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*parts)
loop._step, loop.KEEP_EVERY = step, 0.0
eval(sys.argv[1])(eval(sys.argv[2]), Path(sys.argv[3]), val=20, show=False)
"""
TINY = {
    "pretrain_regions": (regions.pretrain_regions, RegionsConfig(pictures=48, epochs=2, batch_size=16)),
    "pretrain_clip": (pretrain_clip, ClipConfig(pictures=48, steps=6, batch_size=16)),
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("name", TINY)
def test_a_killed_run_goes_on_and_ends_with_the_bits_of_a_whole_one(cache, tmp_path, monkeypatch, name):
    monkeypatch.setattr(assets, "HASHED", 10)  # of no interest here, and slow
    make, config = TINY[name]
    words = [sys.executable, "-c", KILLED, name, repr(config), str(tmp_path / "killed")]
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    died = subprocess.run(words, env=env, capture_output=True, text=True, timeout=900)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not (tmp_path / "killed").exists()
    (state,) = (cache / "pretraining").glob("*-mini-*/step-*")
    assert state.name == "step-00000003"
    facts = make(config, tmp_path / "killed", val=20, show=False)
    assert not state.parent.exists()  # nothing is left once the result is written
    whole = make(config, tmp_path / "whole", val=20, show=False)
    assert facts["sha256"] == whole["sha256"]
    assert (tmp_path / "killed/log.csv").read_text() == (tmp_path / "whole/log.csv").read_text()
    assert damage(tmp_path / "whole") == []
    other = make(type(config)(**{**vars(config), "seed": 1}), tmp_path / "other", val=20, show=False)
    assert other["sha256"] != whole["sha256"]


def test_another_folder_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(UserError, match="results are only written to folders of their own"):
        regions.pretrain_regions(RegionsConfig(), tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "dear"


@pytest.mark.parametrize(
    "flag, value", [("--batch-size", "0"), ("--pictures", "-1"), ("--lr", "0"), ("--batch-size", "9999999")]
)
@pytest.mark.parametrize("command", ["pretrain-regions", "pretrain-clip"])
def test_numbers_without_a_meaning_are_refused(capsys, tmp_path, command, flag, value):
    assert main([command, "--out", str(tmp_path / "x"), flag, value]) == 2
    assert f"error: {flag} is {value}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_flags_are_the_settings():
    for command, config in (("pretrain-regions", RegionsConfig()), ("pretrain-clip", ClipConfig())):
        arguments = vars(parser().parse_args([command, "--out", "x"]))
        assert vars(config).items() <= arguments.items()


def test_the_rate_rises_then_falls_to_nothing():
    schedule = Schedule(steps=100, lr=2.0, weight_decay=0.0, warmup=0.1)
    rates = [schedule.lr_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    network = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match="step 0.*lower --lr"):
        optimise(
            network,
            lambda step: network.weight.sum() * float("nan"),
            Schedule(steps=3, lr=1.0, weight_decay=0.0),
            judge=dict,
            judgements=1,
            state=tmp_path / "state",
            what="a test",
            show=False,
        )


def test_drawn_arrays_are_the_world_and_are_drawn_once(cache, monkeypatch):
    monkeypatch.setattr(drawing, "CHUNK", 4)
    wanted = Wanted(split="val", count=6, labels=True, captions=True)
    result, world = drawn(wanted, show=False), make_world("val", 6)
    rows = np.array([5, 0, 4])
    for picture, i in zip(result.gather("pictures", rows), rows, strict=True):
        np.testing.assert_array_equal(picture, np.asarray(world.picture(int(i))))
    assert result.captions == [[c.text for c in world.captions(i)] for i in range(6)]
    for i in range(6):
        (labels,) = result.gather("labels", np.array([i]))
        seen = np.zeros((128, 128), bool)
        for thing, mask in zip(world[i].things, world.masks(i), strict=True):
            kinds, colours, patterns = labels[mask].T
            assert {NAMES[0][k] for k in kinds} == ({thing.kind} if mask.any() else set())
            assert {NAMES[1][k] for k in colours} == ({thing.colour} if mask.any() else set())
            if not thing.pattern:
                assert set(patterns) <= {NOTHING}
            seen |= mask
        assert (labels[~seen] == NOTHING).all()
    monkeypatch.setattr(drawing, "_draw", lambda job: pytest.fail("drawn a second time"))
    drawn(wanted, show=False)


def test_two_processes_draw_what_one_draws(cache, monkeypatch, tmp_path):
    wanted = Wanted(split="val", count=1001, side=16)  # two chunks
    two = drawn(wanted, processes=2, show=False)
    sums = [sha256_file(chunk / "pictures.npy") for chunk in two.chunks]
    monkeypatch.setenv("USERLIB_CACHE", str(tmp_path / "elsewhere"))
    one = drawn(wanted, show=False)
    assert [sha256_file(chunk / "pictures.npy") for chunk in one.chunks] == sums


def test_shares_of_cells_count_pixels():
    labels = np.random.default_rng(0).choice([0, 1, 2, NOTHING], (2, 128, 128)).astype(np.uint8)
    result = regions.shares(labels, 3)
    for b, row, column, name in ((0, 0, 0, 0), (1, 7, 7, 2), (1, 2, 5, 1)):
        cell = labels[b, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        assert result[b, row * 8 + column, name] == pytest.approx((cell == name).mean())


def test_picture_and_labels_move_together():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 200, (8, 128, 128, 3)).astype(np.uint8)
    _, labels = regions.varied(pictures, pictures, np.random.default_rng(1))
    seen, _ = regions.varied(pictures, pictures, np.random.default_rng(1))
    light = seen.astype(float).sum((1, 2, 3)) / labels.sum((1, 2, 3))  # one factor a picture
    assert np.abs(seen - labels * light[:, None, None, None]).max() < 3
    assert (labels != pictures).any()


def test_the_loss_is_that_of_clip():
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(5, 8, generator=rng), dim=-1) for _ in range(2))
    scores = 7 * a @ b.T
    rows = [scores[i].exp()[i] / scores[i].exp().sum() for i in range(5)]
    columns = [scores[:, i].exp()[i] / scores[:, i].exp().sum() for i in range(5)]
    want = -(torch.stack(rows + columns)).log().mean()
    torch.testing.assert_close(clip_loss(a, b, torch.tensor(7.0)), want)


def slow_merges(words, most):
    """Counts everything anew at each merge."""
    parts, merges = {word: list(word) for word in words}, []
    while len(merges) < most:
        counts = Counter()
        for word, times in words.items():
            for pair in zip(parts[word], parts[word][1:], strict=False):
                counts[pair] += times
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for word, row in parts.items():
            i, out = 0, []
            while i < len(row):
                pair = tuple(row[i : i + 2]) == best
                out.append("".join(row[i : i + 2]) if pair else row[i])
                i += 2 if pair else 1
            parts[word] = out
    return merges


@given(
    st.dictionaries(st.text("ab ", min_size=1, max_size=9), st.integers(1, 5), max_size=6), st.integers(0, 12)
)
def test_merges_are_those_of_the_plain_algorithm(words, most):
    assert bpe.learn_merges(Counter(words), most) == slow_merges(words, most)


TEXTS = ["two dogs on a beach", "red dog, beach - sunny", "dogs and a red car"]
MERGES = bpe.learn_merges(bpe.words_of(TEXTS), 60)


@given(st.text())
def test_any_text_comes_back(text):
    tokenizer = bpe.make_tokenizer(MERGES)
    ids = tokenizer.encode(text).ids
    lower = tokenizer.normalizer.normalize_str(text)
    assert tokenizer.decode(ids) in (lower, " " + lower)
    assert ids[-1] == max(ids) == tokenizer.get_vocab_size() - 1
    assert 0 not in ids


def test_what_is_written_for_training_is_what_the_tokenizer_says():
    writer = bpe.Writer(MERGES, context=32, cut=0.0, noise=0.0)
    tokenizer = bpe.make_tokenizer(MERGES)
    for text in [*TEXTS, "an unknown zebra's 3 café"]:
        ids = writer(text, np.random.default_rng(0))
        assert len(ids) == 32
        assert [i for i in ids if i] == tokenizer.encode(text).ids


def test_cutting_and_noise_keep_the_words_readable():
    writer = bpe.Writer(MERGES, context=64, cut=1.0, noise=1.0)
    whole = writer("two dogs on a beach", np.random.default_rng(0))
    assert writer("two dogs on a beach", np.random.default_rng(0)) == whole
    text = writer.tokenizer.decode([i for i in whole if i])
    assert all(letter in text.replace(" ", "") for letter in "twodgsnabech")
    short = bpe.Writer(MERGES, context=5, cut=0.0, noise=0.0)("two dogs on a beach", np.random.default_rng(0))
    assert (len(short), short[-1]) == (5, writer.end)


def test_saved_tokenizer_is_read_by_open_clip(tmp_path):
    from open_clip.tokenizer import HFTokenizer

    bpe.save_tokenizer(tmp_path, MERGES, 8)
    result = HFTokenizer(str(tmp_path), context_length=8)
    ids = result(["red dog", "", "word " * 50])
    assert ids.shape == (3, 8)
    end = bpe.make_tokenizer(MERGES).token_to_id(bpe.END)
    assert ids[0].tolist() == bpe.make_tokenizer(MERGES).encode("red dog").ids + [0] * int(
        (ids[0] == 0).sum()
    )
    assert ids[2, -1] == end
    assert read_json(Path(tmp_path) / "tokenizer_config.json")["pad_token"] == bpe.PAD
