"""Measures this world's drawings for userlib.search.drawings: python -m userscenes.drawings."""

import json
import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image

from userlib.files import read_json, write_json
from userlib.search.drawings import FILE, features
from userscenes import make_world

COUNT = 1_200  # drawings measured
MARGIN = 1.2  # times the 99th percentile of drawings


def measure(images: Sequence[Image.Image]) -> dict[str, object]:
    """Mean and precision matrix of the images' features, and the limit on the Mahalanobis distance, as stored."""
    table = np.stack([features(image) for image in images])
    mean = table.mean(0)
    spread = np.cov(table.T, bias=True)
    precision = np.linalg.inv(spread + 1e-3 * np.trace(spread) / len(spread) * np.eye(len(spread)))
    away = np.sqrt(np.einsum("ni,ij,nj->n", table - mean, precision, table - mean))
    return {
        "drawings": len(table),
        "mean": mean.round(5).tolist(),
        "precision": precision.round(4).tolist(),
        "limit": round(MARGIN * float(np.quantile(away, 0.99)), 4),
    }


def main() -> int:
    """Measures COUNT drawings and stores the result."""
    world = make_world("train", COUNT)
    write_json(FILE, measure([world.picture(i) for i in range(len(world))]), over=True)
    print(json.dumps({"limit": read_json(FILE)["limit"], "file": str(FILE)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
