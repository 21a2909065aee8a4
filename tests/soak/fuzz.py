"""Property tests with new examples, round after round, until the time is over.

    python tests/soak/fuzz.py                 ten minutes
    python tests/soak/fuzz.py --seconds 60

Every round runs all tests that hypothesis draws examples for, under another seed. What fails is told with its
example; the example belongs into the test as `@example(...)`. The last line is `N passed, N failed`.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUND_S = 1800  # a round that hangs is a failure


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first round; each later one takes the next"
    )
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders (default: all)")
    asked = parser.parse_args(arguments)
    began, seed, examples, passed, failed = time.monotonic(), asked.seed, 0, 0, 0
    while time.monotonic() - began < asked.seconds and not failed:
        pytest = [sys.executable, "-m", "pytest", "-m", "hypothesis and not soak", "-p", "no:cacheprovider"]
        options = ["--hypothesis-profile=soak", f"--hypothesis-seed={seed}", "--hypothesis-show-statistics"]
        try:
            done = subprocess.run(
                [*pytest, *options, *asked.tests],
                cwd=ROOT, capture_output=True, text=True, check=False, timeout=ROUND_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print(f"seed {seed}: a round took more than {ROUND_S} s")
            failed += 1
            break
        drawn = sum(map(int, re.findall(r"- (\d+) passing", done.stdout)))
        examples += drawn
        result = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout[-400:])}
        passed += result.get("passed", 0)
        failed += result.get("failed", 0) + result.get("error", 0)
        print(f"seed {seed}: {result}, {drawn} examples", flush=True)
        if done.returncode and not failed:
            failed = 1
        if failed:
            print(done.stdout[-8000:] + done.stderr[-2000:])
        seed += 1
    print(f"{examples} examples under {seed - asked.seed} seeds")
    print(f"{passed} passed, {failed} failed in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
