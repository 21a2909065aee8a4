"""The soak's run on a SCAN folder of Flickr30K's size: five small steps here, 50 steps of 128 in the soak."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of memory")


def run(folder: Path, *arguments: str) -> dict:
    command = [sys.executable, "tests/soak/scan_size.py", "--folder", str(folder), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return json.loads(done.stdout)


@LINUX
def test_five_steps_on_a_file_of_flickr30k_size(tmp_path):
    result = run(tmp_path, "--steps", "5", "--batch-size", "16", "--dev", "32")
    assert result["steps"] == 5
    assert result["file_gb"] > 8.5 and result["on_disk_gb"] < 0.2
    assert result["anonymous_peak_gb"] < 2  # with 128 pairs a step: below 3
    assert result["waiting_share"] < 0.1


@LINUX
@pytest.mark.soak
def test_fifty_steps_of_128_pairs(tmp_path):
    result = run(tmp_path)
    assert result["steps"] == 50 and result["batch"] == 128 and result["rows_written"] > 5_500
    assert result["anonymous_peak_gb"] < 3
    assert result["waiting_share"] < 0.1
