"""The user's photos: a folder is indexed with progress, and the index is kept in the cache.

The model is the one that is named; else an open_clip model whose weights are on this machine; else photos-mini; else a
model trained only on drawings, with a warning.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from usercourse.demo.engine import Engine
from usercourse.demo.gallery import Gallery, pack, thumbnail, unpack
from userlib.checkpoints import read_checkpoint, write_checkpoint
from userlib.data.splits import Pictures
from userlib.errors import UserError
from userlib.files import cache_dir, remove_folder, sha256_bytes, shown
from userlib.search import CheckpointEncoder, Encoder, Index, OpenClipEncoder
from userlib.search.protocol import identity
from userlib.search.reading import only_split
from userlib.shipped import model_for

Step = Callable[[int, int], None]  # images done, images in all
DRAWINGS = (
    "This model was trained on drawings alone, so its hits among photos mean little. For photos name an "
    "open_clip model, such as ViT-B-32/laion2b_s34b_b79k: it is fetched once, some 600 MB."
)
MINI = (
    "This is photos-mini, a small model trained on 6,000 photos of people and animals, for non-commercial research "
    "and teaching. Better: an open_clip model, such as ViT-B-32/laion2b_s34b_b79k, fetched once, some 600 MB."
)


def index_photos(
    folder: str | Path, encoder: Encoder, name: str, step: Step = lambda done, total: None
) -> tuple[Engine, str]:
    """The engine of a folder of photos, and sentences on what was indexed, found in the cache or left out.

    The index of a folder and model is kept in the cache and updated: only new and changed photos are encoded. Raises
    UserError where there is no such folder or no image in it.
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
    made_by = json.dumps(identity(encoder.cache_key()), sort_keys=True)
    kept = cache_dir() / "demo" / sha256_bytes("photos", str(place.resolve()), made_by)[:32]
    thumbnails = kept.with_name(f"{kept.name}-thumbs")
    index, thumbs = _from_cache(kept, thumbnails, encoder)
    before = len(thumbs)

    def seen(content: str, picture: Image.Image, done: int, total: int) -> None:
        thumbs[content] = thumbnail(picture)
        step(done, total)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out is named in the sentence
        changes = index.update(split, keep_in=kept, progress=False, seen=seen)
    row = {name_: i for i, name_ in enumerate(split.ids)}
    here = split.select([row[name_] for name_ in index.ids], split.name)
    if here.pictures is None:
        raise UserError(f"{folder} has features but no images to show. Name a folder of images.")
    for i, one in enumerate(index.prints):
        if one.sha256 not in thumbs:  # of an update that was stopped
            thumbs[one.sha256] = _thumbnail_or_grey(here.pictures, i)
    thumbs = {one.sha256: thumbs[one.sha256] for one in index.prints}
    if changes or len(thumbs) != before:
        write_checkpoint(thumbnails, pack(tuple(thumbs.values())), {"contents": list(thumbs)})
    small = tuple(thumbs[one.sha256] for one in index.prints)
    gallery = Gallery(
        shown(place.name or place),
        _shown_ids(index.ids),
        here.pictures,
        here.captions,
        here.caption_to_image,
        thumbs=small,
    )
    engine = Engine(name, encoder, gallery, index.vectors, warning=index.warning)
    if index.text_vectors is not None and index.texts == here.captions:
        engine.text_vectors = index.text_vectors
    count = f"{len(index):,} images" if len(index) != 1 else "1 image"
    how = f"indexed and kept: {changes}." if changes or changes.encoded else "found again in the cache."
    said = [f"{count} of {gallery.name}, {how}"]
    left = (str(warning.message) for warning in told)  # files that were left out
    said += [words.removeprefix(f"{place}: ") for words in left if words.startswith(f"{place}: ")]
    if index.skipped:
        said.append(f"{len(index.skipped)} cannot be read; the first: {index.skipped[0]}")
    return engine, " ".join(said)


def _from_cache(kept: Path, thumbnails: Path, encoder: Encoder) -> tuple[Index, dict[str, bytes]]:
    """The index in the cache, and thumbnails by the images' checksums; empty where missing or damaged."""
    try:
        index = Index.load(kept, encoder)
        tensors, documents = read_checkpoint(thumbnails)
        return index, dict(zip(documents["contents"], unpack(tensors), strict=True))
    except (UserError, KeyError, ValueError):
        remove_folder(thumbnails)
    try:
        return Index.load(kept, encoder), {}
    except UserError:
        remove_folder(kept)
        return Index.empty(encoder), {}


def _thumbnail_or_grey(pictures: Pictures, row: int) -> bytes:
    try:
        return thumbnail(pictures[row])
    except UserError:
        return thumbnail(Image.new("RGB", (8, 8), "grey"))


def _shown_ids(ids: Sequence[str]) -> tuple[str, ...]:
    """Distinct names that a page can show and send back."""
    names = [shown(name) for name in ids]
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(name if names.index(name) == i else f"{name} ({i})" for i, name in enumerate(names))


def photo_encoder(name: str, fallback: Encoder) -> tuple[Encoder, str, str]:
    """The encoder for photos, its name, and a warning or "".

    name: the folder of a checkpoint or an open_clip model. For "" it is an open_clip model whose weights are on this
    machine; else photos-mini, with a note on what it is; else the fallback, with a warning that it was trained only on
    drawings.
    """
    if name.strip() and (folder := Path(name.strip()).expanduser()).is_dir():
        return CheckpointEncoder(folder), shown(folder.name), ""
    wanted = name.strip() or weights_at_hand()
    if wanted is None:
        try:
            place, _ = model_for(None)
            return CheckpointEncoder(place), place.name, MINI
        except UserError:  # not in this copy, or without the network that makes its tokens
            return fallback, "a model of drawings", DRAWINGS
    encoder = OpenClipEncoder(wanted)
    drawn = DRAWINGS if "clip-mini" in wanted else ""
    return encoder, wanted, drawn


def weights_at_hand() -> str | None:
    """The first of the usual open_clip models whose weights are in the hub's cache; uses no network."""
    from huggingface_hub import try_to_load_from_cache

    from userlib.data.clip import USUAL

    for model, weights in USUAL.items():
        import open_clip

        hub = (open_clip.get_pretrained_cfg(model, weights) or {}).get("hf_hub", "").strip("/")
        files = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
        if hub and any(isinstance(try_to_load_from_cache(hub, file), str) for file in files):
            return f"{model}/{weights}"
    return None
