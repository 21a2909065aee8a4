"""Statistics of the embedded world, and a contact sheet: python -m userscenes [FOLDER].

Writes contact-sheet.png and statistics.json into FOLDER (default: assets/figures).
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

from userlib.files import atomic_write, check_file, write_json
from userlib.provenance import provenance
from userscenes import (
    TruthTable,
    closed_facts,
    contact_sheet,
    graph_hash,
    library_versions,
    make_world,
)


def statistics() -> dict[str, object]:
    """Counts over the train and test splits, a hash of test, and what they were made with."""
    train, test = make_world("train"), make_world("test")
    things = [thing for scene in train for thing in scene.things]
    texts = [caption.text for i in range(len(train)) for caption in train.captions(i)]
    words = [re.findall(r"[a-z0-9']+", text.lower()) for text in texts]
    captions = [caption for i in range(len(test)) for caption in test.captions(i)]
    truth = TruthTable([c.facts for c in captions], [closed_facts(scene) for scene in test]).true_matrix()
    true_images = truth.sum(1)
    return {
        "images": {"train": len(train), "test": len(test)},
        "categories": len({thing.kind for thing in things}),
        "colours": len({thing.colour for thing in things if thing.colour}),
        "settings": len({scene.setting for scene in train}),
        "captions in train": len(texts),
        "words per caption, mean": round(float(np.mean([len(w) for w in words])), 1),
        "words per caption, 5th and 95th percentile": np.quantile(
            [len(w) for w in words], [0.05, 0.95]
        ).tolist(),
        "vocabulary": len({word for caption in words for word in caption}),
        "true test images per caption, median": float(np.median(true_images)),
        "true test images per caption, 95th percentile": float(np.quantile(true_images, 0.95)),
        "five captions of train image 0": texts[:5],
        "hash of the test graphs": graph_hash("test", 200, 0),
        "libraries": library_versions(),
        "provenance": provenance(),
    }


def main(folder: Path) -> None:
    """Writes both files and prints the statistics."""
    image, statistics_file = folder / "contact-sheet.png", folder / "statistics.json"
    earlier = (  # whether both were written by an earlier run
        statistics_file.is_file() and b'"hash of the test graphs"' in statistics_file.read_bytes()
    )
    for file in () if earlier else (image, statistics_file):
        check_file(file)
    sheet = contact_sheet(make_world("train"), 48).quantize(256)  # a third of the bytes
    atomic_write(image, lambda part: sheet.save(part, format="PNG"), over=earlier)
    counted = statistics()
    write_json(statistics_file, counted, over=earlier)
    print(json.dumps(counted, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "assets/figures"))
