"""Many distinct captions of the pretrain world as vectors of clip-mini's text tower, made once and cached."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from userlib.files import atomic_write, cache_dir, sha256_bytes
from userlib.progress import Progress

BATCH = 512


@dataclass(frozen=True)
class CaptionVectors:
    """gallery (N, E) and queries (Q, E), float32, L2-normalised; no query is in the gallery."""

    gallery: NDArray[np.float32]
    queries: NDArray[np.float32]


def distinct_captions(count: int) -> list[str]:
    """The first `count` distinct captions of the pretrain world, in its order."""
    from userscenes.world import make_world

    world = make_world("pretrain", 2 * count)
    captions: dict[str, None] = {}
    for i in range(len(world)):
        captions.update(dict.fromkeys(caption.text for caption in world.captions(i)))
        if len(captions) >= count:
            break
    return list(captions)[:count]


def caption_vectors(size: int, queries: int, *, progress: bool = True) -> CaptionVectors:
    """A gallery of `size` captions, and `queries` further ones that are spread evenly over the world's captions."""
    from userlib.search import OpenClipEncoder

    captions = distinct_captions(size + queries)
    encoder = OpenClipEncoder("clip-mini")
    key = sha256_bytes(str(encoder.cache_key()["weights"]), *captions)[:32]
    file = cache_dir() / "bench" / f"{key}.npy"
    if not file.is_file():
        parts = []
        with Progress(len(captions), "captions", show=progress) as bar:
            for start in range(0, len(captions), BATCH):
                parts.append(encoder.encode_text(captions[start : start + BATCH]))
                bar.step(len(parts[-1]))
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, lambda part: _save(part, np.concatenate(parts)), over=True)
    vectors: NDArray[np.float32] = np.load(file, allow_pickle=False)
    chosen = np.arange(queries) * (len(vectors) // queries)
    return CaptionVectors(np.delete(vectors, chosen, axis=0), vectors[chosen])


def _save(file: Path, vectors: NDArray[np.float32]) -> None:
    with file.open("wb") as stream:
        np.save(stream, vectors)
