"""The location of the project's own networks: the folder assets of a clone, or within an installation of userlib.

Imports only the standard library and userlib, so that the doctor can rely on it.
"""

from pathlib import Path

from userlib.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
CLONE = (
    "Clone the repository and install it in place (pip install -e .), where its folder assets is read from."
)
RESTORE = "Restore the assets folder of the repository: git checkout -- assets."
REINSTALL = "Install userlib again, with --force-reinstall --no-deps."


def is_clone(root: Path = ROOT) -> bool:
    """Whether userlib runs from its repository, not from a copy that pip installed."""
    return (root / "pyproject.toml").is_file()


def assets(root: Path = ROOT) -> Path:
    """The folder of the networks for a userlib in `root`."""
    return root / "assets" if is_clone(root) else root / "userlib" / "assets"


ASSETS = assets()
SCENES = (
    "No model is named, so this is the demo's small model of drawn scenes. Better: train one, and name it by "
    "--checkpoint."
)
PHOTOS = (
    "No model is named, so this is photos-mini, a small model trained on 6,000 photos of people and animals, for "
    "non-commercial research and teaching. Better (a download of 600 MB): --model ViT-B-32/laion2b_s34b_b79k."
)
REMEDY = RESTORE if is_clone() else REINSTALL


def check_shipped(file: Path) -> None:
    """Raises UserError where one of the project's own networks is missing."""
    if not file.is_file():
        raise UserError(f"The project's own network {file} is missing. {REMEDY}")


def model_for(data: str | None) -> tuple[Path, str]:
    """The folder of the project's own model for searching `data`, and a sentence on it: for drawn scenes a model that
    was trained on them, else photos-mini. Raises UserError where it is missing.
    """
    drawn = data in ("scenes", "pretrain")
    folder = ASSETS / "demo" / "full" if drawn else ASSETS / "photos-mini"
    if not (folder / "manifest.json").is_file():
        raise UserError(
            f"No model is named, and the project's own model {folder} is missing. Give --checkpoint DIR or --model "
            "OPEN_CLIP_NAME."
        )
    return folder, SCENES if drawn else PHOTOS
