"""The command line: python -m userlib train | evaluate | search | export | doctor."""

import argparse
import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from userlib import legacy
from userlib.arguments import fits
from userlib.config import Config, from_json, to_json
from userlib.ending import terminated_as_interrupted
from userlib.errors import UserError, first_line
from userlib.presets import PRESETS, preset


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = argparse.ArgumentParser(prog="python -m userlib", description="Image-text retrieval with USER.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train a model and print a table of its scores",
        description="Train a model. Choose a preset, change what you like, and name a folder for the results.",
        epilog="example: python -m userlib train --data scenes --epochs 5 --out runs/first",
    )
    _common(train)
    add = train.add_argument
    add("--data", help="scenes, a folder, or a hub name such as owner/name or owner/name@commit")
    add("--pictures", metavar="DIR", help="folder of the images, if --data holds features or annotations")
    add(
        "--tokens",
        help="region-mini | clip-mini | efficientnet-lite2[-wide] | timm:NAME | open_clip:NAME/WEIGHTS | precomputed",
    )
    add("--token-weights", metavar="FILE", help="a .safetensors file with a JSON of the same stem next to it")
    add(
        "--guide",
        help="the vector for CGE: clip-mini | efficientnet-lite2 | open_clip:NAME/WEIGHTS | timm:NAME | timm:FILE | "
        "vectors:FOLDER",
    )
    add("--steps", type=int, help="length of the run in steps (overrides --epochs)")
    add("--epochs", type=int, help="length of the run in epochs")
    add("--batch-size", type=int, help="pairs per step, over all processes")
    add(
        "--queue-size",
        type=_queue_size,
        default=argparse.SUPPRESS,
        metavar="none|K",
        help="keys per queue; 0: momentum positives only; none: no queue",
    )
    add("--enhancement", help="none | sge | cge | sge+cge | graph | route | concepts")
    add(
        "--scorer",
        help="dot | chan | scan-t2i | scan-i2t | naaf: cross-attention that is trained next to the embeddings",
    )
    add(
        "--text",
        metavar="KIND[:NAME]",
        help="bag | gru | hf:NAME_OR_FOLDER (any encoder of transformers) | clip:NAME",
    )
    add("--train-text", help="all | last:N (blocks) | lora | none: which part of the text network is trained")
    add(
        "--train-image",
        help="none | last:N | lora | all: which part of the network that makes the tokens is trained, from pixels",
    )
    add(
        "--interpolate",
        action="store_const",
        const=True,
        help="at the end, move pretrained weights back towards their start, by the share best on the val split",
    )
    add("--micro-batch", type=int, metavar="N", help="pairs encoded at a time: same loss, less memory")
    add(
        "--val-split",
        help="the split that picks the epoch: a name, or train:500 to hold out 500 images of train",
    )
    add("--test-split", help="the split that is scored once, at the end; none: no report")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PART.KEY=VALUE",
        dest="settings",
        help="any other setting, such as objective.name=infonce or training.lr=0.001",
    )
    add(
        "--track",
        metavar="TRACKER",
        help="also show the run in tensorboard | wandb | trackio or others of accelerate (several: with commas)",
    )
    add("--resume", action="store_true", help="resume the run in --out")
    add(
        "--dry-run",
        action="store_true",
        help="print what would be downloaded, stored and computed; do nothing",
    )

    evaluate = commands.add_parser(
        "evaluate",
        help="score trained models on a split",
        description="Score checkpoints on a split, with confidence intervals, and show what they gain over a baseline.",
        epilog="example: python -m userlib evaluate --checkpoint runs/first --split test --baseline cca",
    )
    _common(evaluate)
    add = evaluate.add_argument
    add(
        "--checkpoint",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of runs; several are seeds of one model",
    )
    add(
        "--ensemble",
        nargs="+",
        default=[],
        metavar="DIR",
        help="two or more models whose scores are averaged; each is scored alone too",
    )
    add("--model", metavar="OPEN_CLIP_NAME", help="an open_clip model, zero-shot")
    add("--data", help="the data, if not those that the checkpoint was trained on")
    add("--split", help="the split to score (default: the test split of the run)")
    add("--pictures", metavar="DIR", help="folder of the images, if --data holds features or annotations")
    _tokens(evaluate, "; without a checkpoint, the network of the baseline")
    add("--val-split", help="the split on which the baseline is tuned: a name, or train:500")
    add(
        "--folds",
        type=int,
        metavar="SIZE",
        help="also print the mean over consecutive folds of SIZE images; 1000 gives COCO's 1K numbers",
    )
    add(
        "--eccv",
        action="store_true",
        help="also score by ECCV Caption and CxC, on COCO's test split; needs the package eccv_caption",
    )
    add("--baseline", choices=["cca"], help="also score canonical correlation analysis on the same tokens")
    add(
        "--attention",
        action="store_true",
        help="also print how much of SGE's and CGE's attention lies on what the captions name (drawn scenes only)",
    )
    add(
        "--rerank",
        type=int,
        metavar="K",
        help="also re-rank the first K by embeddings with the model's scorer (for models trained with --scorer)",
    )
    add(
        "--against", nargs="+", default=[], metavar="DIR", help="checkpoints to compare with, paired by image"
    )

    search = commands.add_parser(
        "search",
        help="search a folder of images with a text query or an image",
        description="Index a folder of images (or a data set) and find the images for a text query or an image.",
        epilog="example: python -m userlib search --data path/to/photos --query 'two dogs on a beach'. Without "
        "--checkpoint and --model, photos are searched with photos-mini, a small model that comes with the project.",
    )
    add = search.add_argument
    add("--json", action="store_true", help="print JSON")
    add("--checkpoint", nargs="?", metavar="DIR", help="folder of a run")
    add("--model", metavar="OPEN_CLIP_NAME", help="an open_clip model, zero-shot")
    add("--data", help="a folder of images or a data set (default: the data that the model was trained on)")
    add("--pictures", metavar="DIR", help="folder of the images, if --data holds features or annotations")
    _tokens(search, "")
    add("--split", help="which split of a data set (default: test, or else its first split)")
    add("--query", help="the text query")
    add("--image", metavar="FILE", help="an image to search with, alone or with --query")
    add(
        "--arithmetic",
        action="store_true",
        help='add and subtract parts of the query: "two dogs - beach + snow"',
    )
    repeated: Any = {"action": "append", "default": []}
    add("--minus", **repeated, metavar="TEXT", help="lower the score of images like this text; repeatable")
    add("--exclude", **repeated, metavar="IDS", help="ids to leave out, such as 'old/*'; repeatable")
    add("--min-score", type=float, metavar="S", help="leave out hits with a lower cosine")
    add(
        "--min-calibrated",
        type=float,
        metavar="Z",
        help="leave out hits fewer than Z deviations above the median",
    )
    add(
        "--alike",
        type=float,
        metavar="S",
        help="merge images whose cosine is at least S into one hit, such as 0.97",
    )
    add("--hits", metavar="TARGET", help="write the hits: NAME.csv, NAME.json, or a folder of copies")
    add("--vectors", metavar="FILE", help="write the images' vectors: NAME.npz or NAME.parquet")
    add("--top", type=int, default=5, help="how many images (default: 5)")
    add(
        "--rerank",
        type=int,
        metavar="K",
        help="re-rank the first K images by embeddings with the model's scorer",
    )
    add("--index", metavar="DIR", help="where the index is stored; each search updates it to the images")

    export = commands.add_parser(
        "export",
        help="write a trained model for other runtimes",
        description="Write both encoders as ONNX, compared with torch. The exported model searches without torch.",
        epilog="example: python -m userlib export --checkpoint runs/first --out runs/first-onnx",
    )
    add = export.add_argument
    add("--json", action="store_true", help="print JSON")
    add("--checkpoint", required=True, metavar="DIR", help="folder of a run")
    add("--out", required=True, metavar="DIR", help="the folder to write")
    add("--format", choices=["onnx"], default="onnx", help="the format (default: onnx)")
    add("--int8", action="store_true", help="also write eight-bit encoders, and print what they cost in rSum")
    add(
        "--split",
        help="the split on which rSum is compared (default: the run's test split); none: no comparison",
    )
    add("--latency", action="store_true", help="also time a text query and 32 images")
    _tokens(export, "")

    doctor = commands.add_parser(
        "doctor",
        help="check this installation, and print what a bug report needs",
        description="Check this machine, the packages and the files on disk.",
    )
    add = doctor.add_argument
    add("--verify", action="store_true", help="also check every checkpoint, cache and index on disk")
    add("--json", action="store_true", help="print JSON")
    return whole


def _common(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--config", metavar="FILE", help="a JSON file of settings, which override the preset's")
    add("--preset", default="scenes", help=f"{' | '.join(PRESETS)} (default: scenes)")
    add("--seed", type=int, help="the seed of all random draws, including those of the confidence intervals")
    add("--out", metavar="DIR", help="where results are written")
    add("--json", action="store_true", help="print JSON in place of tables")


def _tokens(command: argparse.ArgumentParser, more: str) -> None:
    """Options for the networks of a trained model, where they have been moved or renamed; others raise UserError."""
    add = command.add_argument
    add("--tokens", help=f"the network of the tokens, if it has another name now{more}")
    add("--token-weights", metavar="FILE", help="weights of the tokens' network, if the file has been moved")
    add("--guide", help="the network of the guide, if it has another name now")
    add(
        "--device",
        help="cpu | cuda | cuda:N (default: the device of the run if this machine has it, else the best)",
    )


def _queue_size(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither none (no queue) nor a whole number from 0 up")
    return int(text)


def _text(spec: str) -> dict[str, Any]:
    """The settings of the model for --text. Raises UserError for anything but bag, gru, hf:NAME or clip:NAME."""
    kind, _, name = spec.partition(":")
    if bool(name) != (kind in ("hf", "clip")) or kind not in ("bag", "gru", "hf", "clip"):
        raise UserError(
            f"--text is {spec!r}; it must be bag, gru, hf:NAME_OR_FOLDER (such as hf:bert-base-uncased) or clip:NAME "
            "(such as clip:ViT-B-32/laion2b_s34b_b79k)."
        )
    given: dict[str, Any] = {"text": kind, "text_model": name or None, "text_config": None}
    if kind == "clip":
        from userlib.data.clip import text_width_of

        given["text_width"] = text_width_of(name)
    return given


def _family(text: Any) -> str | None:
    """The family of text networks whose pretrained weights fit each other: words (bag, gru), transformers or clip."""
    return {"bag": "words", "gru": "words", "bert": "transformers", "hf": "transformers", "clip": "clip"}.get(
        text
    )


def merge(base: Config, changes: Any, *, where: str) -> Config:
    """The configuration `base` with changes such as {"model": {"embed_dim": 256}}; where: their source, for errors.
    Raises UserError for unknown parts or keys, and for invalid values.
    """
    if not isinstance(changes, dict):
        raise UserError(f"the {where} is a {type(changes).__name__}; it must be a JSON object.")
    values = to_json(base)
    for part, settings in changes.items():
        if part not in values or not isinstance(settings, dict):
            raise UserError(
                f"the {where} has {part!r}; its parts are {', '.join(values)}, each a JSON object."
            )
        if part == "model" and _family(settings.get("text")) not in (None, _family(values[part]["text"])):
            # those of the base belong to its own text network
            settings = {"text_model": None, "text_config": None, **settings}
        values[part] = {**values[part], **settings}
    return from_json(Config, values, where=where)  # type: ignore[no-any-return]


def config_of(arguments: argparse.Namespace) -> Config:
    """The configuration of a command line: the preset, changed by the file of --config, changed by the options. Raises
    UserError for invalid settings, and for one that an option and --set both name.
    """
    config = preset(getattr(arguments, "preset", "scenes"))
    if getattr(arguments, "config", None):
        from userlib.files import read_json

        changes = legacy.settings(read_json(Path(arguments.config)))
        config = merge(config, changes, where=f"file {arguments.config}")
    given: dict[str, dict[str, Any]] = {"data": {}, "model": {}, "objective": {}, "training": {}}
    flags = {
        "data": ("data", "pictures", "tokens", "token_weights", "guide", "val_split", "test_split"),
        "model": ("enhancement", "scorer", "text", "train_text", "train_image"),
        "training": ("steps", "epochs", "batch_size", "micro_batch", "interpolate", "seed"),
    }
    for part, names in flags.items():
        given[part] |= {
            name: getattr(arguments, name) for name in names if getattr(arguments, name, None) is not None
        }
    if hasattr(arguments, "queue_size"):  # None is a value, not the absence of the option
        given["model"]["queue_size"] = arguments.queue_size
    named = {part: set(values) for part, values in given.items()}  # by options of their own
    if getattr(arguments, "text", None):
        given["model"] |= _text(arguments.text)
    for setting in getattr(arguments, "settings", []):
        path, equals, text = setting.partition("=")
        part, dot, key = path.partition(".")
        if not (equals and dot) or part not in given:
            raise UserError(
                f"--set is {setting!r}; it must be PART.KEY=VALUE, such as objective.name=infonce."
            )
        if key in named[part]:
            option = f"--{key.replace('_', '-')}"
            raise UserError(f"{option} and --set {setting} both name {part}.{key}; give only one of them.")
        try:
            given[part][key] = json.loads(text)
        except (ValueError, RecursionError):
            given[part][key] = float(text) if re.fullmatch(r"[+-]?(\d+\.|\.\d+)(e[+-]?\d+)?", text) else text
    for part, values in given.items():
        hints = get_type_hints(type(getattr(config, part)))
        given[part] = {
            key: None if value == "none" and fits(None, hints.get(key)) else value
            for key, value in values.items()
        }
    return merge(config, given, where="command line")


def main(words: list[str] | None = None) -> int:
    """Runs a command; returns 0 if it succeeded, 1 for failed checks of doctor, 2 for an error that the user can
    correct, and 130 if it was interrupted.
    """
    return guarded(parser, _run, words)


def guarded(
    commands: Callable[[], argparse.ArgumentParser],
    run: Callable[[argparse.Namespace], int],
    words: list[str] | None,
) -> int:
    """The exit status of `run` for the words of a command line (None: of this process): 2, with a message, for a
    UserError, and 130 for Ctrl-C and SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):  # captions may have letters that the terminal's encoding lacks
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = [with_home(word) for word in (sys.argv[1:] if words is None else words)]
    try:
        legacy.check_flags(given)
        check_words(given)
        with terminated_as_interrupted():
            status = run(commands().parse_args(given))
            sys.stdout.flush()
            return status
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO) or not _lost_output():
            raise
        if isinstance(error, BrokenPipeError):  # whoever reads, such as head, has read enough
            return 141
        print(
            f"error: what is printed cannot be written: {error.strerror}. Print it elsewhere.",
            file=sys.stderr,
        )
        return 2
    except (MemoryError, RuntimeError) as error:  # numpy's and torch's, of which a GPU's is one
        if not isinstance(error, MemoryError) and not re.search("out of memory|allocate memory", str(error)):
            raise
        print(
            f"error: the memory does not suffice: {first_line(error)[:200]} Give a smaller --batch-size, --micro-batch "
            "or --queue-size, or a smaller model; what was complete before is kept.",
            file=sys.stderr,
        )
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        return 130


def check_words(words: list[str]) -> None:
    """Raises UserError for an option whose value is empty, as that of a shell variable that is not set."""
    option = ""
    for word in words:
        name, equals, value = word.partition("=")
        option = name if word.startswith("--") else option
        if option and not (value if word == f"{option}={value}" else word).strip():
            raise UserError(
                f"{option} is empty, as where a shell variable is not set; give it a value, or leave {option} out."
            )


def with_home(word: str) -> str:
    """A word of the command line with ~ as the home folder also behind = or :, as in --out=~/runs and hf:~/encoder,
    where no shell reads it so.
    """
    return re.sub(r"^(?:[\w.-]+=)?(?:[\w-]+:)*~(?=/|$)", lambda m: m[0][:-1] + os.path.expanduser("~"), word)


def _lost_output() -> bool:
    """Whether what is printed goes nowhere; if so, no more is said of it when this process ends."""
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _run(arguments: argparse.Namespace) -> int:
    """Runs the command of the arguments."""
    if arguments.command == "doctor":
        from userlib.doctor import main as doctor

        return doctor(verify=arguments.verify, json=arguments.json)
    from userlib import commands

    return int(getattr(commands, arguments.command)(arguments, config_of(arguments)))


if __name__ == "__main__":
    sys.exit(main())
