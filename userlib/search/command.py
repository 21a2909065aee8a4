"""`python -m userlib search`: updates the index to its images, reports the changes, and searches."""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from userlib.checkpoints import TENSORS
from userlib.config import Config
from userlib.data.extractors import choose_device
from userlib.data.pictures import read_picture
from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.files import check_folder, read_json, shown
from userlib.search.encoders import CheckpointEncoder, OpenClipEncoder
from userlib.search.exporting import check_apart, check_targets, write_hits, write_vectors
from userlib.search.index import Hit, Index, check_query
from userlib.search.query import Found, Query, find
from userlib.search.reading import absolute
from userlib.search.rerank import scorer_reranker
from userlib.shipped import model_for

FILES = (TENSORS, "contents.json")  # of a stored index


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Prints the hits and returns the exit status; with --index it saves the index, even an interrupted update."""
    if arguments.checkpoint and arguments.model:
        raise UserError("--checkpoint and --model both name a model; give only one of them.")
    own = ""  # a sentence on the project's own model, which is used where none is named
    if not (arguments.checkpoint or arguments.model):
        if not (arguments.data or (arguments.index and Path(arguments.index).exists())):
            raise UserError(
                f"nothing to search{f': there is no index {shown(arguments.index)} yet' if arguments.index else ''}; "
                "give --data FOLDER. A model can be named by --checkpoint or --model."
            )
        place, own = model_for(arguments.data or data_of(arguments.index))
        arguments.checkpoint = str(place)
    if arguments.model and arguments.token_weights:
        raise UserError("--token-weights is only for the tokens of a --checkpoint; leave it out.")
    query = query_of(arguments)
    for name in ("top", "rerank"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise UserError(
                f"--{name} is {getattr(arguments, name)}; it must be a number of images from 1 up."
            )
    if arguments.model and arguments.rerank:
        raise UserError("--rerank needs a model with a scorer; give a --checkpoint trained with --scorer.")
    if arguments.rerank and query is not None:
        raise UserError(
            "--rerank is only for a plain --query; leave out --rerank, or --image, --hits and the options of the query."
        )
    folder = Path(arguments.index) if arguments.index else None
    if folder is not None:
        check_folder(folder, FILES)
    check_targets(*(Path(name) if name else None for name in (arguments.hits, arguments.vectors)))
    there = folder is not None and folder.is_dir() and any(folder.iterdir())
    encoder = (
        CheckpointEncoder(
            arguments.checkpoint,
            device=arguments.device,
            token_weights=arguments.token_weights,
            tokens=arguments.tokens,
            guide=arguments.guide,
        )
        if arguments.checkpoint
        else OpenClipEncoder(arguments.model, device=choose_device(arguments.device))
    )
    index = Index.load(folder, encoder) if folder is not None and there else Index.empty(encoder)
    if isinstance(encoder, CheckpointEncoder):
        config = encoder.loaded.config
    try:
        messages = bring_in_line(index, arguments, config, folder)
    except KeyboardInterrupt:
        kept = folder is not None and index.folder == folder and len(index)
        resumes = f"{len(index):,} images are kept in {shown(str(folder))}; the same command resumes"
        print(
            f"interrupted; {resumes if kept else 'nothing was encoded yet, or there is no --index to keep it in'}",
            file=sys.stderr,
        )
        return 130
    reranker = None
    if arguments.rerank and isinstance(encoder, CheckpointEncoder):
        reranker = scorer_reranker(encoder, images_of(index))
    hits: Sequence[Hit | Found] = (
        index.search(
            arguments.query, arguments.top, rerank=reranker, candidates=arguments.rerank or arguments.top
        )
        if query is None
        else find(index, query, arguments.top)
    )
    if arguments.hits or arguments.vectors:
        messages += written(index, hits, arguments)
    precision = encoder.notes if isinstance(encoder, CheckpointEncoder) else []
    asked = index.notes(arguments.query)
    for line in (*([own] if own else []), *messages, *precision, *asked):
        print(line, file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        more = [] if query is None else ["calibrated", "duplicates"]
        print(
            json.dumps(
                [{name: getattr(hit, name) for name in ("id", "score", "rank", *more)} for hit in hits]
            )
        )
        return 0
    far = dict(zip(index.ids, index.distances > 1, strict=True)) if index.warning else {}
    for hit in hits:
        mark = "  (unlike the training images)" if far.get(hit.id) else ""
        if isinstance(hit, Found) and hit.duplicates:
            mark += f"  and {len(hit.duplicates)} nearly the same"
        print(f"{hit.rank:3d}  {hit.score:.3f}  {shown(hit.id)}{mark}")
    if not hits:
        print("no hit is left; lower --min-score or --min-calibrated, or --exclude less")
    return 0


def query_of(arguments: argparse.Namespace) -> Query | None:
    """The query of several parts on the command line; None for a text alone. Raises UserError for an empty one."""
    image = None if arguments.image is None else read_picture(Path(arguments.image))
    if arguments.query is None and image is None:
        raise UserError("there is nothing to search for; give --query TEXT, --image FILE or both.")
    if arguments.query is not None:
        check_query(arguments.query)
    if arguments.arithmetic and arguments.query is None:
        raise UserError("--arithmetic is set and there is no --query to read; give one.")
    query = Query(
        text=arguments.query, image=image, arithmetic=arguments.arithmetic, minus=tuple(arguments.minus),
        exclude=tuple(arguments.exclude), min_score=arguments.min_score, min_calibrated=arguments.min_calibrated,
        alike=arguments.alike,
    )  # fmt: skip
    return None if query == Query(text=arguments.query) and arguments.hits is None else query


def written(index: Index, hits: Sequence[Hit | Found], arguments: argparse.Namespace) -> list[str]:
    """Writes the files of --hits and --vectors, and returns a sentence on each."""
    lines = []
    if arguments.hits:
        split = split_of(index)
        found = [hit for hit in hits if isinstance(hit, Found)]
        lines.append(write_hits(found, Path(arguments.hits), split))
    if arguments.vectors:
        lines.append(write_vectors(index, Path(arguments.vectors)))
    return lines


def data_of(folder: str) -> str | None:
    """The data that a stored index was made from; None where it does not say, or there is no such index yet."""
    try:
        said = read_json(Path(folder) / FILES[1]).get("source", {}).get("data")
    except (UserError, AttributeError):  # told where the index is read
        return None
    return said if isinstance(said, str) else None


def split_of(index: Index) -> Split:
    """The split that an index was made from."""
    from userlib.data.sources import load_data

    pictures = index.source.get("pictures")
    data = load_data(index.source["data"], pictures=Path(pictures) if pictures else None)
    return data.split(index.source["split"])


def images_of(index: Index) -> Callable[[str], Image.Image]:
    """A function that returns an image of the index by its id. Raises UserError for a split without images."""
    split = split_of(index)
    if split.pictures is None:
        raise UserError(f"the split {split.name!r} has no images, only features; --rerank needs the images.")
    pictures, rows = split.pictures, {name: row for row, name in enumerate(split.ids)}
    return lambda name: pictures[rows[name]]


def bring_in_line(
    index: Index, arguments: argparse.Namespace, config: Config, folder: Path | None
) -> list[str]:
    """Updates the index to the images of --data, else to those that it was made from, and returns a sentence on each
    change, and on the splits that are not searched where none is named. Raises UserError where there are none, and for
    copies of hits that would lie among them.
    """
    from userlib.data.sources import load_data

    name = arguments.data or index.source.get("data") or (None if len(index) else config.data.data)
    if name is None:
        raise UserError(
            f"the index {folder} was written by an older version, without the name of its data; give --data."
        )
    name = absolute(name)
    # where the images of features or annotations lie: as said, or as the index or the model knows of these data
    known: tuple[Mapping[str, Any], ...] = (index.source, vars(config.data))
    kept = [one["pictures"] for one in known if one.get("pictures") and absolute(one["data"]) == name]
    pictures = next((absolute(one) for one in (arguments.pictures, *kept) if one), None)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = load_data(name, pictures=Path(pictures) if pictures else None)
    except UserError as error:
        if arguments.data:
            raise
        made = f"the index {folder} was made from" if index.source else "the model was trained on"
        raise UserError(f"{made} {name}: {error} Or give --data, or --pictures.") from error
    usual = "test" if "test" in data.splits else next(iter(data.splits))
    if index.source.get("data") == name and index.source.get("split") in data.splits:
        usual = index.source["split"]
    split = data.split(arguments.split or usual)
    if arguments.hits:
        check_apart(Path(arguments.hits), split, Path(name))
    older = bool(len(index)) and not index.prints
    index.source = {"data": name, "split": split.name, **({"pictures": pictures} if pictures else {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out is reported below
        changes = index.update(split, keep_in=folder, progress=not arguments.json)
    # warnings about other files in the folder
    messages = [shown(str(one.message)) for one in caught if one.category is UserWarning]
    if arguments.split is None and (others := [one for one in data.splits if one != split.name]):
        left = ", ".join(f"{one} ({len(data.splits[one]):,})" for one in others)
        messages.append(
            f"Images of the split {split.name} ({len(split):,}) are searched, and not those of {left}; --split names "
            "another."
        )
    messages += [] if folder is None else [f"{shown(folder)}: {changes}"]
    if older:
        messages.append(
            "It was written by an older version, which stored no checksums of images: all were encoded again."
        )
    if changes.skipped:
        count = len(changes.skipped)
        are = "is" if count == 1 else "are"
        messages.append(f"{count:,} of {len(split):,} images {are} left out; the first: {changes.skipped[0]}")
    return messages
