"""What the notebooks show: figures, demos, checks, predictions, and how large a run may be.

    from usercourse import check, compare, course_config, predict, show, start, snapshot

Nothing is trained here; the notebooks train with `userlib.training`.
"""

from usercourse.checks import Verdict, check
from usercourse.hints import in_notebook
from usercourse.plots import show, show_table
from usercourse.predictions import compare, predict
from usercourse.profile import PROFILES, Profile, course_config, expect_trained, profile, start, variant
from usercourse.widgets import Demo, choice, slider, snapshot
from userlib.errors import UserError

UserError.reword = in_notebook  # settings in place of options

__all__ = [
    "PROFILES", "Demo", "Profile", "Verdict", "check", "choice", "compare", "course_config", "expect_trained",
    "predict", "profile", "show", "show_table", "slider", "start", "snapshot", "variant",
]  # fmt: skip
