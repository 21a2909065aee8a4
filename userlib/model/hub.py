"""Models and indexes on the Hugging Face hub, by the hub's own mixin.

What is uploaded is a stored folder (safetensors, JSON, and a manifest with their checksums) with a model card. What is
downloaded lies in the hub's cache under its commit, and is compared with its manifest whenever it is read.
"""

import os
import re
from abc import abstractmethod
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelHubMixin

from userlib.arguments import checked
from userlib.checkpoints import check_names
from userlib.data.network import hub_access, hub_address, hub_answers
from userlib.errors import UserError, first_line
from userlib.verify import MANIFEST, read_manifest

NAME = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
HALF = "_half"  # passes `half` through the mixin, which only passes on the fields of the card


class Shared(
    ModelHubMixin,
    library_name="userlib",
    tags=["image-text-retrieval", "image-retrieval"],
    paper_url="https://doi.org/10.1109/TIP.2023.3348297",
):
    """Base class with `save_pretrained`, `from_pretrained` and `push_to_hub`. A subclass writes its whole folder, card
    included, in `_save`: what the mixin writes by itself is left incomplete where the process is stopped.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Skips the mixin's, which derives a configuration from the arguments: `_save` writes its own."""
        return object.__new__(cls)

    @abstractmethod
    def _save(self, folder: Path, card: Mapping[str, Any]) -> None: ...

    def save_pretrained(  # type: ignore[override]
        self,
        folder: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        config: None = None,
        model_card_kwargs: Mapping[str, Any] | None = None,
        half: bool = False,
        **settings: Any,
    ) -> str | None:
        """Writes a folder for `from_pretrained`, whole or not at all, with a model card as its README.md.

        model_card_kwargs: fields that replace those of the card's header, such as {"license": "cc-by-4.0"}. half:
        weights in fp16. push_to_hub: also uploads it, as repo_id or else under the folder's name, with the other
        arguments of `push_to_hub`, and returns the address of the commit.

        Raises UserError for a config, since the model stores its own, and for half where a class has no such form.
        """
        if config is not None:
            raise UserError(
                "save_pretrained was given a config, but stores the one that the model was built with; leave it out."
            )
        if settings and not push_to_hub:
            raise UserError(
                f"save_pretrained has no argument {next(iter(settings))!r} without push_to_hub=True; leave it out."
            )
        card = dict(model_card_kwargs or {})
        half = card.pop(HALF, half)
        if half and "half" not in signature(self._save).parameters:
            raise UserError(
                f"half is True, but a {type(self).__name__} can be saved only in its own precision; leave half out."
            )
        self._save(Path(folder), card, **({"half": True} if half else {}))
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or Path(folder).name, model_card_kwargs=card, half=half, **settings)

    def push_to_hub(self, repo_id: str, *, half: bool = False, **settings: Any) -> str:
        """Uploads to the repository `owner/name` in one commit, and returns the address of the commit.

        half: as in `save_pretrained`. settings: the arguments of huggingface_hub's ModelHubMixin: private, token,
        branch, create_pr, commit_message and so on. Raises UserError where the hub cannot be reached, or refuses.
        """
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

        if not hub_answers():
            raise UserError(
                f"Cannot push {repo_id}: {hub_address()} cannot be reached, or HF_HUB_OFFLINE is set. Save it to a "
                "folder with save_pretrained, and push it when you are connected."
            )
        try:
            settings["model_card_kwargs"] = {
                "title": repo_id,
                **(settings.get("model_card_kwargs") or {}),
                **({HALF: True} if half else {}),
            }
            return str(super().push_to_hub(repo_id, **settings))
        except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError) as error:
            reason = first_line(error)
            raise UserError(
                f"Cannot push {repo_id}: {hub_address()} answered {reason!r}. Check the name, and log in with `hf auth "
                "login` and a token that may write there."
            ) from error


@checked
def resolve(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """The folder called `name`; where there is none, the downloaded hub repository `owner/name` or
    `owner/name@revision`.

    revision: a branch, tag or commit; by default the branch main. Without a network, the newest download is taken.
    Raises UserError where there is neither, and for a repository that was not saved by this library.
    """
    path, match = Path(os.path.expanduser(name)), NAME.fullmatch(str(name))
    if path.exists():
        if revision is not None:
            raise UserError(
                f"{path} is a folder, but revision {revision!r} belongs to a name on the hub; leave the revision out."
            )
        return path
    if match is None or path.parent.is_dir() and path.parent != Path("."):
        raise UserError(
            f"There is no folder {path}. Give the folder of a run, which train wrote (--out), or a model on the hub, "
            "as owner/name."
        )
    if revision is not None and match["revision"] is not None:
        raise UserError(
            f"two revisions are given, one in the name {name} and one as the argument {revision!r}; leave one out."
        )
    how: dict[str, Any] = {
        "token": token, "cache_dir": cache_dir, "force_download": force_download, "endpoint": hub_address(),
    }  # fmt: skip
    try:
        with hub_access(f"the model {match['repo']}"):
            return _fetch(match["repo"], revision or match["revision"] or "main", local_files_only, how)
    except UserError as error:
        raise UserError(f"There is no folder {path}, and it cannot be read from the hub: {error}") from error


def _fetch(repo: str, revision: str, local_files_only: bool, how: dict[str, Any]) -> Path:
    """Downloads the manifest, then the files that it lists, from the same commit."""
    from huggingface_hub import errors, hf_hub_download, snapshot_download

    try:
        file = hf_hub_download(repo, MANIFEST, revision=revision, local_files_only=local_files_only, **how)
    except errors.LocalEntryNotFoundError:
        raise
    except errors.EntryNotFoundError as error:
        raise UserError(
            f"{repo} has no {MANIFEST} at {revision!r}, so it was not saved by this library. Name one that was."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{repo} has no revision {revision!r}. Name a branch, tag or commit of it."
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"{repo} is gated: accept its terms on its page, then log in with `hf auth login`."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UserError(f"{repo} does not exist, or it is private. Check the name, or log in.") from error
    folder = Path(file).parent
    _, sums = read_manifest(folder, f"Delete {folder} and fetch it again.")
    check_names(folder, sums, "Do not use it.")
    snapshot_download(
        repo, revision=folder.name, allow_patterns=list(sums), local_files_only=local_files_only, **how
    )
    return folder
