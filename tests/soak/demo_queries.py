"""500 queries and 50 uploads to the demo in a row: its memory must not grow by more than 5 % after warm-up.

    python tests/soak/demo_queries.py
    python tests/soak/demo_queries.py --queries 100 --uploads 10 --out FILE

A query is a sentence, asked as the page asks it: search, its right answers and its attention picture. An upload is a
picture of random size: its captions, its like and its attention. Prints JSON with the memory at each tenth; ends with 1
where the limit is passed. Linux alone: it reads /proc/self/status. Without the demo's own models an untrained one of
the same shape is asked.
"""

import argparse
import gc
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.soak.scan_size import memory_gb  # noqa: E402
from userlib.files import write_checksummed  # noqa: E402
from userlib.provenance import provenance  # noqa: E402

LIMIT, WARM_UP, PICTURES = 1.05, 0.2, 60


def upload(draw: np.random.Generator) -> bytes:
    """A picture as somebody might send it."""
    height, width = draw.integers(50, 900, 2)
    file = io.BytesIO()
    Image.fromarray(draw.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def engine_of(folder: Path) -> Any:
    from tests.usercourse.demo.conftest import save_untrained
    from usercourse.demo.gallery import MODEL_DIR, Gallery, world_texts
    from usercourse.demo.models import available_models, open_engine
    from userscenes import make_world
    from userscenes.dataset import DrawnPictures

    world = make_world("test", PICTURES)
    captions, caption_to_image, pairs = world_texts(world)
    gallery = Gallery(
        "scenes", tuple(world.ids), DrawnPictures(world), captions, caption_to_image, world, pairs
    )
    for name in available_models(MODEL_DIR).values():
        return open_engine(name, gallery, MODEL_DIR)
    save_untrained("sge", folder, gallery.captions)
    return open_engine("sge", gallery, folder)


def main(arguments: list[str]) -> int:
    from usercourse.demo.uploads import open_upload

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--uploads", type=int, default=50)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    draw, memory = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_of(Path(folder))
        every = max(1, asked.queries // asked.uploads)
        for number in range(asked.queries):
            words = draw.choice(engine.gallery.captions).split()
            draw.shuffle(words)
            text = " ".join(words) if number % 2 else str(draw.choice(engine.gallery.captions))
            result = engine.search(text, 12)
            engine.explain(result.hits[0].id, text)
            if number % every == 0:
                picture = open_upload(upload(draw), f"{number}.jpg")
                engine.captions(picture)
                engine.similar(picture)
                engine.explain(picture)
            if (number + 1) % max(1, asked.queries // 10) == 0:
                gc.collect()
                memory.append(round(memory_gb("RssAnon"), 4))
    grown = max(memory) / memory[max(0, round(WARM_UP * len(memory)) - 1)]
    facts = {"queries": asked.queries, "uploads": asked.uploads, "model": engine.name, "anonymous_gb": memory}
    facts |= {"grown": round(grown, 4), "limit": LIMIT, "provenance": provenance()}
    print(json.dumps(facts))
    if asked.out:
        write_checksummed(asked.out, facts)
    return 1 if grown > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
