"""Where the project's own networks lie: in the folder assets of a clone, or within an installation of userlib.

Imports nothing beyond the standard library and ours: the doctor stands on it.
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
    """Whether userlib runs from its repository, and not from where an installation copied it."""
    return (root / "pyproject.toml").is_file()


def assets(root: Path = ROOT) -> Path:
    """The folder of the networks below `root`."""
    return root / "assets" if is_clone(root) else root / "userlib" / "assets"


ASSETS = assets()
SCENES = (
    "No model is named: this is the demo's small model of drawn scenes. Better: train one, and name it by "
    "--checkpoint."
)
PHOTOS = (
    "No model is named: this is photos-mini, a small model trained on 6,000 photos of people and animals, for "
    "non-commercial research and teaching. Better, fetched once, 600 MB: --model ViT-B-32/laion2b_s34b_b79k."
)
REMEDY = RESTORE if is_clone() else REINSTALL


def check_shipped(file: Path) -> None:
    """Raises UserError where one of the project's own networks is missing."""
    if not file.is_file():
        raise UserError(f"The project's own network {file} is missing. {REMEDY}")


def model_for(data: str | None) -> tuple[Path, str]:
    """The project's own model to search `data` with, and a sentence on it: for drawn scenes one that was trained on
    them, for all else photos-mini. Raises UserError where it is not there.
    """
    drawn = data in ("scenes", "pretrain")
    folder = ASSETS / "demo" / "full" if drawn else ASSETS / "photos-mini"
    if not (folder / "manifest.json").is_file():
        raise UserError(
            f"No model is named, and the project's own for this, {folder}, is not here. Give --checkpoint DIR or "
            "--model OPEN_CLIP_NAME."
        )
    return folder, SCENES if drawn else PHOTOS
