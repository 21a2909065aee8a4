"""A checkpoint of your own in the demo, over the images that it was trained on.

    App(checkpoint="runs/mine")     # or: python course.py demo --checkpoint runs/mine

A model of the drawn scenes searches their test images; any other searches the folder that its configuration names, if
that is on this machine.
"""

from pathlib import Path

import numpy as np

from usercourse.demo.engine import Engine
from usercourse.demo.gallery import Gallery
from usercourse.demo.photos import Step, index_photos
from userlib.errors import UserError
from userlib.files import shown
from userlib.search import CheckpointEncoder

AT_ONCE = 64  # images encoded at a time
MANY = 500  # images that may be indexed before the page is shown, which takes half a minute


def encoder_of(checkpoint: str | Path) -> tuple[CheckpointEncoder, str]:
    """The model in a run's folder, and its name. Raises UserError for a missing folder or one without a checkpoint."""
    place = Path(checkpoint).expanduser()
    if not place.is_dir():
        raise UserError(
            f"There is no folder {checkpoint}. Give the folder of a run, which was named by --out, or by out= of fit."
        )
    return CheckpointEncoder(place), shown(place.resolve().name)


def folder_of(encoder: CheckpointEncoder, checkpoint: str | Path) -> Path | None:
    """The folder that a model was trained on, or None where it is not on this machine. A relative path may start at the
    present folder or at any folder above the run's.
    """
    data = encoder.loaded.config.data.data
    if data is None or encoder.drawings:
        return None
    bases = (Path(), *Path(checkpoint).expanduser().resolve().parents)
    return next((base / data for base in bases if (base / data).is_dir()), None)


def engine_of(encoder: CheckpointEncoder, name: str, gallery: Gallery) -> Engine:
    """The engine of a model of drawn scenes, which encodes the demo's images."""
    parts = [
        encoder.encode_image([gallery.pictures[i] for i in range(first, min(first + AT_ONCE, len(gallery)))])
        for first in range(0, len(gallery), AT_ONCE)
    ]
    return Engine(name, encoder, gallery, np.concatenate(parts))


def own_engine(
    checkpoint: str | Path, gallery: Gallery, step: Step = lambda done, total: None
) -> tuple[str, Engine | None, str, Path | None]:
    """The model's title in the page, its engine, a sentence on it, and the folder that it was trained on.

    The engine is None where the folder is missing or has more than MANY images: the sentence then says what to do.
    """
    encoder, name = encoder_of(checkpoint)
    if encoder.drawings:
        return name, engine_of(encoder, name, gallery), f"{name}: a model of the drawn scenes.", None
    folder = folder_of(encoder, checkpoint)
    if folder is None:
        data = encoder.loaded.config.data.data
        said = f"{name} was trained on {data}, which is not a folder here. Name a folder below, and index it."
        return name, None, said, None
    if (count := _images_of(folder)) > MANY:
        said = f"{name} was trained on {folder.name} with {count:,} images. Press Index it: that takes some minutes."
        return name, None, said, folder
    engine, said = index_photos(folder, encoder, name, step)
    return f"{engine.gallery.name} ({name})", engine, f"{name}: {said}", folder


def _images_of(folder: Path) -> int:
    from userlib.search.reading import only_split

    return len(only_split(folder))
