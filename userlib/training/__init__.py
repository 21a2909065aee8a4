"""Training: prepare(config) loads the data and makes the tokens, fit(prepared) trains."""

from userlib.training.loop import Run, fit
from userlib.training.preparing import Prepared, pairs_of, prepare, splits_of, val_split_name
from userlib.training.watching import CollapseError

__all__ = ["CollapseError", "Prepared", "Run", "fit", "pairs_of", "prepare", "val_split_name", "splits_of"]
