"""The command lines of pretraining: each setting is a flag."""

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from userlab.pretraining.settings import ClipConfig, PhotosConfig, RegionsConfig
from userlib.errors import UserError


def add_commands(commands: Any) -> None:
    """Adds pretrain-regions, pretrain-clip and pretrain-photos to the other commands."""
    for name, config, made in (
        ("pretrain-regions", RegionsConfig, "region-mini, which stands in for the object detector"),
        ("pretrain-clip", ClipConfig, "clip-mini, which stands in for CLIP"),
        ("pretrain-photos", PhotosConfig, "photos-mini, which searches photos"),
    ):
        command = commands.add_parser(
            name,
            help=f"make {made}",
            description=f"Make {made}. An interrupted run is resumed by the same command.",
            epilog=f"example: python -m userlab {name} --out runs/{made.split(',')[0]}",
        )
        command.add_argument(
            "--out", required=True, metavar="DIR", help="the folder for weights, log and provenance"
        )
        for one in fields(config):
            command.add_argument(
                f"--{one.name.replace('_', '-')}",
                type=type(one.default),
                default=one.default,
                help=f"{one.metadata['about']} (default: %(default)s)",
            )
        command.add_argument(
            "--processes", type=int, default=1, help="processes that draw images (default: %(default)s)"
        )
        command.add_argument("--json", action="store_true", help="print the provenance as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Runs one of the commands. Raises UserError for numbers that are not positive, and for too large a batch."""
    if arguments.command == "pretrain-photos":
        return _photos(arguments)
    config = RegionsConfig if arguments.command == "pretrain-regions" else ClipConfig
    values = {one.name: getattr(arguments, one.name) for one in fields(config)}
    for name, value in {**values, "processes": arguments.processes}.items():
        if value < 0 or (value == 0 and name not in ("seed", "weight_decay")):
            raise UserError(f"--{name.replace('_', '-')} is {value}; give a number above 0.")
    if values["batch_size"] > values["pictures"]:
        raise UserError(
            f"--batch-size is {values['batch_size']}, more than the {values['pictures']} images. Give fewer."
        )
    settings, out = {"processes": arguments.processes, "show": not arguments.json}, Path(arguments.out)
    if arguments.command == "pretrain-regions":
        from userlab.pretraining.regions import pretrain_regions

        facts = pretrain_regions(RegionsConfig(**values), out, **settings)
    else:
        from userlab.pretraining.clip import pretrain_clip

        facts = pretrain_clip(ClipConfig(**values), out, **settings)
    result = ", ".join(f"{name} {value:.3g}" for name, value in facts["result"].items())
    print(json.dumps(facts) if arguments.json else f"{out}: {result}; {facts['seconds']} s")
    return 0


def _photos(arguments: argparse.Namespace) -> int:
    from userlab.pretraining.photos import pretrain_photos

    settings = PhotosConfig(**{one.name: getattr(arguments, one.name) for one in fields(PhotosConfig)})
    facts = pretrain_photos(settings, Path(arguments.out), show=not arguments.json)
    reported = facts["result"]["rsum"]
    print(
        json.dumps(facts)
        if arguments.json
        else f"{arguments.out}: rSum {reported[0]:.1f} on {settings.test_split!r}; {facts['seconds']} s"
    )
    return 0
