"""Memory that the extraction of tokens and guide takes beyond the model, on real photos.

    python tests/soak/extraction_memory.py path/to/photos                  a ViT-B/32 of random weights
    python tests/soak/extraction_memory.py path/to/photos --tokens NAME    another network

Prints JSON; ends with 1 where it is 2 GB or more. Linux alone: it reads /proc/self/status.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.soak.scan_size import anonymous_peak, memory_gb  # noqa: E402
from userlib.data import tokens as module  # noqa: E402
from userlib.data.extractors import make_extractor  # noqa: E402
from userlib.data.sources import load_data  # noqa: E402

LIMIT_GB = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="a data set of photos")
    parser.add_argument("--tokens", help="default: an open_clip model of ViT-B/32's shape, random weights")
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--workers", type=int, default=module.WORKERS)
    chosen = parser.parse_args()
    data = load_data(chosen.data)
    split = data.split(next(iter(data.splits))).select(np.arange(chosen.pictures), "part")
    with tempfile.TemporaryDirectory() as folder:
        name = chosen.tokens
        if name is None:
            from tests.training.test_presets import write_vit_b_32

            name = f"open_clip:local-dir:{write_vit_b_32(Path(folder) / 'vit-b-32')}"
        extractor = make_extractor(name)
        extractor.load()
        model = memory_gb("RssAnon")
        start = time.perf_counter()
        with (
            anonymous_peak() as peak,
            mock.patch.object(module, "make_extractor", return_value=extractor),
        ):
            module.extract(
                split,
                tokens=name,
                guide=name,
                cache=Path(folder) / "cache",
                progress=False,
                workers=chosen.workers,
            )
        seconds = time.perf_counter() - start
    result = {
        "tokens": chosen.tokens or "ViT-B/32, random weights",
        "pictures": chosen.pictures,
        "workers": chosen.workers,
        "pictures_a_second": chosen.pictures / seconds,
        "process_with_model_gb": model,
        "beyond_the_model_gb": peak[0] - model,
    }
    print(json.dumps(result, indent=1))
    return 0 if result["beyond_the_model_gb"] < LIMIT_GB else 1


if __name__ == "__main__":
    sys.exit(main())
