"""The command line of the experiments: python -m userlab COMMAND."""

import argparse
import sys

from userlab.ablation.coverage import add_command as add_coverage
from userlab.ablation.settings import add_command as add_ablate
from userlab.bench.settings import add_command as add_bench
from userlab.pretraining.commands import add_commands
from userlib.__main__ import config_of, guarded


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = argparse.ArgumentParser(prog="python -m userlab", description="Experiments with USER.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_ablate(commands)
    add_bench(commands)
    add_coverage(commands)
    add_commands(commands)
    return whole


def main(words: list[str] | None = None) -> int:
    """Runs a command. Returns its exit code, or 2 for an error that the user can correct."""
    return guarded(parser, _run, words)


def _run(arguments: argparse.Namespace) -> int:
    """The command itself."""
    if arguments.command == "ablate":
        from userlab.ablation.settings import run as ablate

        return ablate(arguments, config_of)
    if arguments.command == "bench":
        from userlab.bench.settings import run as bench

        return bench(arguments)
    if arguments.command == "coverage":
        from userlab.ablation.coverage import run as coverage

        return coverage(arguments)
    from userlab.pretraining.commands import run as pretrain

    return pretrain(arguments)


if __name__ == "__main__":
    sys.exit(main())
