"""USER: image-text retrieval with semantic enhancement and momentum queues. Names are imported on first use."""

TYPE_CHECKING = False  # true for type checkers; importing the module typing takes longer than all of this
if TYPE_CHECKING:
    from userlib.config import Config
    from userlib.data.sources import load_data
    from userlib.errors import UserError
    from userlib.evaluation import evaluate, recall_at_k
    from userlib.model.contrast import MomentumContrast
    from userlib.model.enhancement import CGE, SGE
    from userlib.model.momentum import MomentumEncoder
    from userlib.model.objective import HingeLoss, InfoNCELoss, UTOLoss
    from userlib.model.pooling import GPO
    from userlib.model.queue import DualQueue
    from userlib.model.user import USER, DualEncoder
    from userlib.presets import preset
    from userlib.search import Index
    from userlib.training import fit, prepare
    from userlib.version import __version__ as __version__

_EXPORTS = {
    "userlib.config": "Config",
    "userlib.presets": "preset",
    "userlib.data.sources": "load_data",
    "userlib.errors": "UserError",
    "userlib.evaluation": "evaluate recall_at_k",
    "userlib.model.contrast": "MomentumContrast",
    "userlib.model.enhancement": "CGE SGE",
    "userlib.model.momentum": "MomentumEncoder",
    "userlib.model.objective": "HingeLoss InfoNCELoss UTOLoss",
    "userlib.model.pooling": "GPO",
    "userlib.model.queue": "DualQueue",
    "userlib.model.user": "DualEncoder USER",
    "userlib.search": "Index",
    "userlib.training": "fit prepare",
    "userlib.version": "__version__",
}
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names.split()}

__all__ = [
    "CGE", "GPO", "SGE", "USER", "Config", "DualEncoder", "DualQueue", "HingeLoss", "Index", "InfoNCELoss",
    "MomentumContrast", "MomentumEncoder", "UTOLoss", "UserError", "evaluate", "fit", "load_data", "prepare",
    "preset", "recall_at_k",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'userlib' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
