"""What importing the library costs in addition to importing torch, in fresh interpreters."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from userlab.bench.timing import spread

MOST_MS = 300.0
CODE = "import time; begun = time.process_time(); import {}; print(time.process_time() - begun)"
TORCH, OURS, WHOLE = "torch", "torch, userlib", "torch, userlib, userlib.model.user, userlib.evaluation"
RUNS = 10


def cases(*, tiny: bool, device: str) -> Iterator[dict[str, Any]]:
    """Processor time of importing torch, torch and the package, and these with its models and metrics."""
    times: dict[str, list[float]] = {what: [] for what in (TORCH, OURS, WHOLE)}
    for _ in range(1 if tiny else RUNS):
        for what, ms in times.items():
            code = [sys.executable, "-c", CODE.format(what)]
            ms.append(1e3 * float(subprocess.run(code, capture_output=True, text=True, check=True).stdout))
    beyond = [ours - torch for ours, torch in zip(times[OURS], times[TORCH], strict=True)]
    whole = [ours - torch for ours, torch in zip(times[WHOLE], times[TORCH], strict=True)]
    low, high = spread(times[OURS])
    yield {
        "group": "import",
        "case": "import userlib",
        "shapes": "a fresh interpreter",
        "runs": len(beyond),
        "clock": "cpu",
        "reference_is": "import torch",
        "limit_is": "",
        "ours": {"ms": statistics.median(times[OURS]), "low": low, "high": high},
        "reference": {"ms": statistics.median(times[TORCH])},
        "goals": [
            {"side": "beyond torch, ms", "at_most": MOST_MS, "met": statistics.median(beyond) <= MOST_MS}
        ],
        "notes": {
            "beyond_torch_ms": statistics.median(beyond),
            "models_and_metrics_beyond_torch_ms": statistics.median(whole),
        },
    }
