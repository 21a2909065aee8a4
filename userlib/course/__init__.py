"""What the notebooks show: figures, demos, checks, predictions, and how large a run may be.

    from userlib.course import check, compare, course_config, predict, show, start, twin

Nothing is trained here; the notebooks train with `userlib.training`.
"""

from userlib.course.checks import Verdict, check
from userlib.course.plots import show, show_table
from userlib.course.predictions import compare, predict
from userlib.course.profile import PROFILES, Profile, course_config, expect_trained, profile, start, variant
from userlib.course.widgets import Demo, choice, slider, twin

__all__ = [
    "PROFILES", "Demo", "Profile", "Verdict", "check", "choice", "compare", "course_config", "expect_trained",
    "predict", "profile", "show", "show_table", "slider", "start", "twin", "variant",
]  # fmt: skip
