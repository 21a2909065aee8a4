"""Memory that each command takes: the peak of its resident pages that are no file's, in five runs, and under a limit.

    python tests/soak/memory.py                                  all commands
    python tests/soak/memory.py --only train search --runs 1     some, once
    python tests/soak/memory.py --table                          the table of docs/speed.md from the stored result

The commands run at their default sizes (Scenes in full, the preset's model and batch) but for few steps: memory is
reached in the first steps and evaluation, and does not grow with more of them. Tokens are a memory map, whose pages
are the file's. Peak: RssAnon and RssShmem in /proc/PID/status, looked at every 5 ms; of a command's several processes
the sum of Pss in smaps_rollup, which counts shared pages once. Then the command runs once more where no process may
have more data than 1.25 times the largest VmData seen (`ulimit -d`), and must complete. Ends with 1 where one does
not, or where a run is above 1.2 times the median.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "assets" / "results" / "memory.json"
SPREAD, LIMIT, MB = 1.2, 1.25, 2**20
COMMANDS = {
    "train": "train --data scenes --steps 20 --out {new}",
    "train, all parts": "train --data scenes --steps 20 --enhancement sge+cge --guide clip-mini --queue-size 2048 "
    "--out {new}",
    "evaluate": "evaluate --checkpoint {run} --split test --baseline cca",
    "search": "search --checkpoint {run} --query dog --index {new}",
    "ablate": "ablate --study pooling --variant mean --seeds 1 --steps 20 --threads 1 --out {new}",
    "doctor --verify": "doctor --verify",
    "pretrain-regions": "pretrain-regions --pictures 256 --epochs 1 --out {new}",
    "pretrain-clip": "pretrain-clip --pictures 512 --steps 3 --out {new}",
}


def program(command: str) -> str:
    """The package whose command this is."""
    return "userlib" if command in ("train", "evaluate", "search", "doctor") else "userlab"


def family(process: int) -> list[int]:
    """A process and all that it has started."""
    result, place = [process], 0
    while place < len(result):
        for file in Path("/proc").glob(f"{result[place]}/task/*/children"):
            try:
                result += map(int, file.read_text().split())
            except OSError:
                continue
        place += 1
    return result


def of(processes: Iterable[int], field: str) -> list[int]:
    """One figure of each process in bytes; 0 of one that has ended."""
    figures = []
    for process in processes:
        try:
            match = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
        except OSError:
            match = None
        figures.append(int(match[1]) * 1024 if match else 0)
    return figures


def taken(processes: list[int]) -> int:
    """Anonymous and shared bytes of all. Of several, each page counts once: between fork and exec a child has its
    parent's.
    """
    if len(processes) == 1:
        return sum(of(processes, "RssAnon")) + sum(of(processes, "RssShmem"))
    result = 0
    for process in processes:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
            result += 1024 * sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem): +(\d+) kB", text, re.MULTILINE)))
    return result


def measured(words: list[str], data_limit: int | None = None) -> dict[str, Any]:
    """One run: its code, seconds, peak of anonymous pages (all processes) and of VmData (the largest process)."""

    def limit() -> None:
        if data_limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (data_limit, data_limit))

    began = time.monotonic()
    command = [sys.executable, "-m", program(words[0]), *words]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=limit
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(process.stderr.read()))  # type: ignore[union-attr]
    reader.start()
    anonymous = data = 0
    while process.poll() is None:
        every = family(process.pid)
        anonymous = max(anonymous, taken(every))
        data = max(data, *of(every, "VmData"))
        time.sleep(0.005)
    reader.join()
    seconds = time.monotonic() - began
    return {
        "code": process.returncode,
        "seconds": seconds,
        "anonymous": anonymous,
        "data": data,
        "said": said[0][-2000:],
    }


def measure(name: str, run: Path, folder: Path, runs: int) -> dict[str, Any]:
    def words(number: object) -> list[str]:
        new = folder / f"{name.split()[0].strip(',')}-{len(list(folder.iterdir()))}-{number}"
        return COMMANDS[name].format(run=run, new=new).split()

    if name.startswith(("pretrain", "ablate")):
        measured(words("first"))  # draws and caches what later runs find
    result = [measured(words(number)) for number in range(runs)]
    for one in result:
        if one["code"] not in (0, 1 if name.startswith("doctor") else 0):
            raise SystemExit(f"{name} ended with {one['code']}: {one['said']}")
    peaks = [one["anonymous"] / MB for one in result]
    data = max(one["data"] for one in result)
    limited = measured(words("limited"), int(LIMIT * data))
    middle = statistics.median(peaks)
    return {
        "command": f"python -m {program(name.split()[0])} {COMMANDS[name]}",
        "anonymous_mb": [round(peak) for peak in peaks],
        "median_mb": round(middle),
        "largest_over_median": round(max(peaks) / middle, 3),
        "data_mb": round(data / MB),
        "limit_mb": round(LIMIT * data / MB),
        "completes_under_limit": limited["code"] == result[0]["code"],
        "said_under_limit": "" if limited["code"] == result[0]["code"] else limited["said"][-300:],
        "seconds": round(statistics.median(one["seconds"] for one in result), 1),
    }


def table(facts: dict[str, Any]) -> str:
    """The table of docs/speed.md."""
    lines = ["| command | memory | VmData | under `ulimit -d` of |", "|---|---|---|---|"]
    for name, row in facts["commands"].items():
        spread = f"{row['median_mb'] / 1024:.2f} GB ({min(row['anonymous_mb']):,} to {max(row['anonymous_mb']):,} MB)"
        word = "completes" if row["completes_under_limit"] else "fails"
        lines.append(
            f"| {name} | {spread} | {row['data_mb'] / 1024:.2f} GB | {row['limit_mb'] / 1024:.2f} GB: {word} |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    sys.path.insert(0, str(ROOT))
    from userlib.files import read_checksummed, write_checksummed
    from userlib.provenance import provenance

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(COMMANDS), help="these commands; others keep their figures"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument(
        "--run", type=Path, help="a trained run for evaluate and search (default: one is made)"
    )
    parser.add_argument("--table", action="store_true", help="print the table from --out; run nothing")
    asked = parser.parse_args(arguments)
    if asked.table:
        print(table(read_checksummed(asked.out, "Run the measurement again.")))
        return 0
    if not Path("/proc/self/status").exists():
        print("skipped: this system has no /proc")
        return 0
    kept = read_checksummed(asked.out, "Delete it.")["commands"] if asked.only and asked.out.exists() else {}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="memory-") as place:
        folder = Path(place)
        run = asked.run or folder / "trained"
        if not run.exists():
            words = COMMANDS["train"].format(new=run).split()
            subprocess.run(
                [sys.executable, "-m", program(words[0]), *words], cwd=ROOT, check=True, capture_output=True
            )
        for name in asked.only or COMMANDS:
            row = measure(name, run, folder, asked.runs)
            kept[name] = {
                **row,
                "provenance": provenance(),
                "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            }
            bad = row["largest_over_median"] > SPREAD or not row["completes_under_limit"]
            failed += bad
            print(json.dumps(row), flush=True)
            commands = {name: kept[name] for name in COMMANDS if name in kept}
            write_checksummed(
                asked.out, {"spread_allowed": SPREAD, "limit_factor": LIMIT, "commands": commands}
            )
    print(f"{len(asked.only or COMMANDS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
