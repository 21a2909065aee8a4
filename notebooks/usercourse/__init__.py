"""What the notebooks use: figures, demos, checks, predictions, and the size of runs.

    from usercourse import check, compare, course_config, predict, progress, show, start, snapshot

Nothing is trained here; the notebooks train with `userlib.training`. Each name is imported when it is used, because the
servers of JupyterLab and of the demo import kernels.py and server.py and need neither torch nor figures.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from usercourse.hints import in_notebook
from usercourse.profile import PROFILES, Profile, course_config, expect_trained, profile, start, variant
from userlib.errors import UserError

if TYPE_CHECKING:
    from usercourse.checks import Verdict, check
    from usercourse.plots import show, show_table
    from usercourse.predictions import compare, predict
    from usercourse.widgets import Demo, choice, field, slider, snapshot

_HOMES = {
    "checks": "Verdict check",
    "plots": "show show_table",
    "predictions": "compare predict",
    "widgets": "Demo choice field slider snapshot",
}

UserError.reword = in_notebook  # errors name settings instead of options of the command line

__all__ = [
    "PROFILES", "Demo", "Profile", "Verdict", "check", "choice", "compare", "course_config", "expect_trained",
    "field", "predict", "profile", "show", "show_table", "slider", "start", "snapshot", "variant",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names.split()), None)
    if home is None:
        raise AttributeError(f"module 'usercourse' has no attribute {name!r}")
    return getattr(import_module(f"usercourse.{home}"), name)
