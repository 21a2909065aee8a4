"""One's own photos: a folder indexed with progress, its index kept in the cache and found again.

The model is an open_clip model where weights are on this machine; else one that has only seen drawings, which
is said.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from userlib.checkpoints import read_bundle, write_bundle
from userlib.demo.engine import Engine
from userlib.demo.gallery import Gallery, pack, thumbnail, unpack
from userlib.errors import UserError
from userlib.files import cache_dir, sha256_bytes
from userlib.search import Encoder, Index, open_clip_encoder
from userlib.search.exact import Array
from userlib.search.reading import only_split

Step = Callable[[int, int], None]  # done, of how many
DRAWINGS = (
    "This model has only seen drawings, so what it finds among photos means little. For photos name an "
    "open_clip model, such as ViT-B-32/laion2b_s34b_b79k: it is fetched once, some 600 MB."
)


class Counting:
    """An encoder that tells how many pictures it has encoded, and keeps a small copy of each."""

    def __init__(self, encoder: Encoder, step: Callable[[int], None]) -> None:
        self.encoder, self.step = encoder, step
        self.thumbs: list[bytes] = []

    @property
    def warning(self) -> str | None:
        return self.encoder.warning

    def encode_text(self, texts: Sequence[str]) -> Array:
        return self.encoder.encode_text(texts)

    def encode_pictures(self, pictures: Sequence[Image.Image]) -> Array:
        found = self.encoder.encode_pictures(pictures)
        self.thumbs += [thumbnail(picture) for picture in pictures]
        self.step(len(self.thumbs))
        return found

    def unknown(self, text: str) -> list[str]:
        return self.encoder.unknown(text)

    def describe(self) -> dict[str, object]:
        return self.encoder.describe()


def index_photos(
    folder: str | Path, encoder: Encoder, name: str, step: Step = lambda done, total: None
) -> tuple[Engine, str]:
    """The photos of a folder as an engine, and a sentence on what was found, kept or left out.

    A folder whose files and model are those of an earlier time is not encoded again. Raises UserError where
    there is no such folder or no picture in it.
    """
    place = Path(folder).expanduser()
    if not str(folder).strip():
        raise UserError("Name a folder on the machine that runs this page.")
    if not place.is_dir():
        raise UserError(
            f"There is no folder {folder}. Check the path; it is one on the machine that runs this page."
        )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        split = only_split(place)
    kept = cache_dir() / "demo" / sha256_bytes(split.fingerprint, repr(encoder.describe()))[:32]
    beside, found = kept.with_name(f"{kept.name}-thumbs"), True
    try:
        index, thumbs = Index.load(kept, encoder), unpack(read_bundle(beside)[0])
    except UserError:  # none yet, or a damaged one
        found = False
        counting = Counting(encoder, lambda done: step(done, len(split)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is left out is told in the sentence
            index = Index.build(split, counting, progress=False)
        thumbs = tuple(counting.thumbs)
        index.save(kept)
        write_bundle(beside, pack(thumbs), {})
    row = {name_: i for i, name_ in enumerate(split.ids)}
    here = split.take([row[name_] for name_ in index.ids], split.name)
    if here.pictures is None:
        raise UserError(f"{folder} holds features and no pictures, which could be shown.")
    gallery = Gallery(
        place.name or str(place), here.ids, here.pictures, here.captions, here.image_of, thumbs=thumbs
    )
    engine = Engine(name, encoder, gallery, index.vectors)
    if index.text_vectors is not None:
        engine.text_vectors = index.text_vectors
    count = f"{len(index):,} pictures" if len(index) != 1 else "1 picture"
    said = [
        f"{count} of {place.name or place}, "
        + ("found again in the cache." if found else "indexed and kept.")
    ]
    left = (str(warning.message) for warning in told)  # what the folder holds beside its photos
    said += [words.removeprefix(f"{place}: ") for words in left if words.startswith(f"{place}: ")]
    if index.skipped:
        said.append(f"{len(index.skipped)} cannot be read; the first: {index.skipped[0]}")
    return engine, " ".join(said)


def photo_encoder(name: str, fallback: Encoder) -> tuple[Encoder, str, str]:
    """The encoder for photos, its name, and a warning or "".

    name: an open_clip model, or "" for one whose weights are on this machine, else the fallback with the
    warning that it has only seen drawings.
    """
    wanted = name.strip() or weights_at_hand()
    if wanted is None:
        return fallback, "a model of drawings", DRAWINGS
    encoder = open_clip_encoder(wanted)
    drawn = DRAWINGS if "clip-mini" in wanted else ""
    return encoder, wanted, drawn


def weights_at_hand() -> str | None:
    """The first of the usual open_clip models whose weights were fetched before; asks nothing of the net."""
    from huggingface_hub import try_to_load_from_cache

    from userlib.data.clip import USUAL

    for model, weights in USUAL.items():
        import open_clip

        hub = (open_clip.get_pretrained_cfg(model, weights) or {}).get("hf_hub", "").strip("/")
        files = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
        if hub and any(isinstance(try_to_load_from_cache(hub, file), str) for file in files):
            return f"{model}/{weights}"
    return None
