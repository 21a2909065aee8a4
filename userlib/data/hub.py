"""Data sets on the hub: Parquet files downloaded once, at a commit that is recorded, and read like any local folder.

Flickr30K is known under two names; the second is used where the first is gone. An interrupted download resumes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from userlib.data.network import hub_access, hub_address
from userlib.data.parquet import check_folders, load_parquet
from userlib.data.splits import RetrievalData
from userlib.errors import UserError
from userlib.files import cache_dir, disk_errors, read_checksummed, sha256_known, write_checksummed
from userlib.progress import tell

FLICKR_TERMS = (
    "The photos belong to their Flickr owners and may be used for non-commercial research and teaching only; they are "
    "downloaded for this use and must not be passed on."
)


@dataclass(frozen=True, kw_only=True)
class HubSet:
    """What is known of a data set before it is downloaded."""

    revision: str = "main"
    counts: Mapping[str, int] | None = None  # images of each split
    captions_each: int | None = None
    download: int | None = None  # bytes
    terms: str = "Its own terms apply: read them on its page before you use or pass on anything of it."
    fallback: str | None = None


FLICKR30K: dict[str, Any] = {
    "counts": {"train": 29_000, "val": 1_014, "test": 1_000},
    "captions_each": 5,
    "download": 4_300_000_000,
    "terms": FLICKR_TERMS,
}
HUB_SETS = {
    # "main" moves: the first load records the commit that it stands for, and later loads ask for that commit.
    "umaru97/flickr30k_train_val_test": HubSet(revision="main", fallback="nlphuji/flickr30k", **FLICKR30K),
    # One split "test" of 31,014 rows; the column "split" says which is which.
    "nlphuji/flickr30k": HubSet(revision="refs/convert/parquet", **FLICKR30K),
}


class Gone(UserError):
    """The hub answers, but it has no such data set or revision, or restricts the access to it."""


def load_hub(name: str, *, known: HubSet | None = None) -> RetrievalData:
    """The data set `owner/name`, or `owner/name@revision` (without a fallback); downloaded at the first call.

    `known` replaces its entry in HUB_SETS. Raises UserError where it cannot be had, or is not what was published.
    """
    name, at, revision = name.partition("@")
    known = known or HUB_SETS.get(name, HubSet())
    if at:
        known = replace(known, revision=revision, fallback=None)
    try:
        files = fetch(name, known)
    except Gone as error:
        if known.fallback is None:
            raise
        tell(f"{error} Trying {known.fallback} instead.")
        return load_hub(known.fallback)
    return load_parquet(files, name, rows=known.counts, captions_each=known.captions_each)


def fetch(name: str, known: HubSet) -> list[Path]:
    """The Parquet files of the data set, in order: from the hub's cache where all are there, else downloaded."""
    note = cache_dir() / "hub" / (f"{name}@{known.revision}".replace("/", "--") + ".json")
    with hub_access(f"the data set {name}"):
        try:
            record = read_checksummed(note, "", limit=2**24)
        except UserError:  # the first load, or the note is damaged
            record = _ask(name, known)
            write_checksummed(note, record, over=True)
        check_folders(name, record["files"], known.revision)
        files = _files(name, record, offline=True)
        if files is None:
            size = f"{known.download / 1e9:.1f} GB" if known.download else f"{len(record['files'])} files"
            tell(f"Downloading {name} ({size}) from {hub_address()}. {known.terms}")
            files = _files(name, record, offline=False)
    if files is None:
        raise UserError(f"The download of {name} is not complete. Run the same command again to resume it.")
    for label, file in zip(record["files"], files, strict=True):
        published = record.get("sha256", {}).get(label)
        if published is not None and sha256_known(file) != published:
            raise UserError(
                f"{file.resolve()} is not the file {label} that {name} has at its commit {record['sha'][:12]}: its "
                "checksum differs. Delete it and run the same command again."
            )
    return files


def _ask(name: str, known: HubSet) -> dict[str, Any]:
    """{"sha": the commit that the revision stands for now, "files": its Parquet files, "sha256": their checksums}"""
    from huggingface_hub import HfApi, errors

    api = HfApi(endpoint=hub_address())
    try:
        info = api.dataset_info(name, revision=known.revision, timeout=10, files_metadata=True)
    except errors.GatedRepoError as error:
        raise Gone(
            f"The hub gives {name!r} only to accounts that accepted its terms: accept them on its page, then run `hf "
            "auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise Gone(
            f"The hub has no revision {known.revision!r} of the data set {name!r}. Name another, or give a local copy."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise Gone(
            f"The hub has no data set {name!r}, or it is private. Check its name, or give a local folder."
        ) from error
    parquet = sorted(
        (file for file in info.siblings or () if file.rfilename.endswith(".parquet")),
        key=lambda file: file.rfilename,
    )
    if not parquet or info.sha is None:
        raise Gone(
            f"The data set {name!r} has no Parquet files at revision {known.revision!r}. Only Parquet is read; many "
            "sets have it at refs/convert/parquet."
        )
    sums = {file.rfilename: file.lfs.sha256 for file in parquet if file.lfs is not None}
    return {"sha": info.sha, "files": [file.rfilename for file in parquet], "sha256": sums}


def _files(name: str, record: dict[str, Any], *, offline: bool) -> list[Path] | None:
    """The files at the recorded commit; None unless all are there. Raises UserError where the hub lacks the commit."""
    from huggingface_hub import errors, snapshot_download

    try:
        with disk_errors(Path(name)):
            folder = snapshot_download(
                name,
                repo_type="dataset",
                revision=record["sha"],
                allow_patterns=record["files"],
                local_files_only=offline,
                endpoint=hub_address(),
            )
    except errors.LocalEntryNotFoundError:
        if offline:
            return None
        raise
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise UserError(
            f"The hub no longer has the commit {record['sha'][:12]} of {name} that was loaded first. Delete "
            f"{cache_dir() / 'hub'} to load the newest one, and report this with the results."
        ) from error
    files = [Path(folder) / file for file in record["files"]]
    return files if all(file.is_file() for file in files) else None
