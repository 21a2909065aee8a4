"""Models and indexes on the Hugging Face hub, through the hub's own mixin.

What is shared is a stored folder (safetensors, JSON, a manifest with the checksum of each) with a model card. What is
fetched lies in the hub's cache, at its commit, and is compared with its manifest when it is read.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelHubMixin

from userlib.checkpoints import check_names
from userlib.data.network import hub_access, hub_address, hub_answers
from userlib.errors import UserError
from userlib.verify import MANIFEST, read_manifest

NAME = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
HALF = "_half"  # passes `half` through the mixin, which hands on the card's fields alone


class Shared(
    ModelHubMixin,
    library_name="userlib",
    tags=["image-text-retrieval", "image-retrieval"],
    paper_url="https://doi.org/10.1109/TIP.2023.3348297",
):
    """What has `save_pretrained`, `from_pretrained` and `push_to_hub`. A subclass writes its whole folder, card
    included, in `_save`: the mixin's own way leaves a folder half written where it is stopped.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Without the mixin's guess at a configuration from the arguments: each save has its own."""
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
        """A folder for `from_pretrained`, written whole or not at all, with a model card in its README.md.

        model_card_kwargs: fields of the card's header in place of those told from the model, such as
        {"license": "cc-by-4.0"}. half: weights in fp16. push_to_hub: also to the hub, as repo_id or under the folder's
        name, with the other arguments of `push_to_hub`; the commit's address is returned. UserError for a config, as
        the model has its own, and for half where what is saved has no such form.
        """
        if config is not None:
            raise UserError("save_pretrained was given a config; the one that it was built with is stored.")
        if settings and not push_to_hub:
            raise UserError(
                f"save_pretrained has no argument {next(iter(settings))!r} without push_to_hub=True."
            )
        card = dict(model_card_kwargs or {})
        half = card.pop(HALF, half)
        if half and "half" not in signature(self._save).parameters:
            raise UserError(
                f"half is True, and a {type(self).__name__} is saved in the types that it has; leave half out."
            )
        self._save(Path(folder), card, **({"half": True} if half else {}))
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or Path(folder).name, model_card_kwargs=card, half=half, **settings)

    def push_to_hub(self, repo_id: str, *, half: bool = False, **settings: Any) -> str:
        """Saves to the repository `owner/name` in one commit, and returns the commit's address.

        half: as in `save_pretrained`. settings: what huggingface_hub's ModelHubMixin takes, private, token, branch,
        create_pr, commit_message and so on. Raises UserError where the hub does not answer or refuses, with what it
        said.
        """
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

        if not hub_answers():
            raise UserError(
                f"Cannot push {repo_id}: {hub_address()} cannot be reached, or HF_HUB_OFFLINE is set. Save it to a "
                "folder by save_pretrained, and push it when you are connected."
            )
        try:
            settings["model_card_kwargs"] = {
                "title": repo_id,
                **(settings.get("model_card_kwargs") or {}),
                **({HALF: True} if half else {}),
            }
            return str(super().push_to_hub(repo_id, **settings))
        except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"Cannot push {repo_id}: {hub_address()} answered {said!r}. Check the name, and log in by `hf auth "
                "login` with a token that may write there."
            ) from error


def resolve(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """The folder called `name`; where there is none, that of the hub's `owner/name` or `owner/name@revision`.

    revision: a branch, tag or commit; by default the branch main. Without a network the newest one fetched is taken.
    Raises UserError where there is neither, and for a repository that was not saved by this library.
    """
    path, match = Path(name), NAME.fullmatch(str(name))
    if path.exists():
        if revision is not None:
            raise UserError(
                f"{path} is a folder, and revision {revision!r} is one of a hub name; leave it out."
            )
        return path
    if match is None or path.parent.is_dir() and path.parent != Path("."):
        raise UserError(
            f"There is no folder {path}. Give the folder of a run: the one that train wrote (--out); or a model on the "
            "hub, as owner/name."
        )
    if revision is not None and match["revision"] is not None:
        raise UserError(
            f"{name} has a revision and so has the argument ({revision!r}); leave one of them out."
        )
    how: dict[str, Any] = {
        "token": token, "cache_dir": cache_dir, "force_download": force_download, "endpoint": hub_address(),
    }  # fmt: skip
    try:
        with hub_access(f"the model {match['repo']}"):
            return _fetch(match["repo"], revision or match["revision"] or "main", local_files_only, how)
    except UserError as error:
        raise UserError(f"There is no folder {path}, and not on the hub either: {error}") from error


def _fetch(repo: str, revision: str, local_files_only: bool, how: dict[str, Any]) -> Path:
    """The manifest first, then what it lists, at the same commit."""
    from huggingface_hub import errors, hf_hub_download, snapshot_download

    try:
        file = hf_hub_download(repo, MANIFEST, revision=revision, local_files_only=local_files_only, **how)
    except errors.LocalEntryNotFoundError:
        raise
    except errors.EntryNotFoundError as error:
        raise UserError(
            f"{repo} has no {MANIFEST} at {revision!r}: it was not saved by this library. Give one that was."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{repo} has no revision {revision!r}. Name a branch, tag or commit of it."
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"{repo} asks to accept its terms on its page first, then `hf auth login`."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UserError(f"it has no model {repo!r}, or it is private. Check the name, or log in.") from error
    folder = Path(file).parent
    _, sums = read_manifest(folder, f"Delete {folder} and fetch it again.")
    check_names(folder, sums, "Do not use it.")
    snapshot_download(
        repo, revision=folder.name, allow_patterns=list(sums), local_files_only=local_files_only, **how
    )
    return folder
