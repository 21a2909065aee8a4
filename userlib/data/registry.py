"""Data sets and backbones by name. You can add your own without changing the library:

    from userlib.data.registry import BACKBONES, DATASETS
    DATASETS.register("flowers", "mypackage.flowers:load")     # imported on first use
    BACKBONES.register("mynet", MyExtractor)

A data set is a function `(name, sizes, *, progress) -> RetrievalData`; a backbone is a function
`(spec, *, weights, device) -> Extractor`, registered under the part of `spec` before its colon (all of it, where there
is none).
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from userlib.errors import UserError

Maker = Callable[..., Any]


class Registry:
    """Functions by name, each given as an object or as "module:function", which is imported at its first use."""

    def __init__(self, what: str, **targets: str) -> None:
        self.what = what
        self._targets: dict[str, str | Maker] = dict(targets)

    def register(self, name: str, target: str | Maker) -> None:
        """Adds `name`. Raises UserError for a name that is taken, and for a target that is neither a function nor
        "module:function".
        """
        if not callable(target) and target.count(":") != 1:
            raise UserError(
                f"{target!r} cannot be registered as the {self.what} {name!r}; give a function or 'module:function'."
            )
        if self._targets.get(name, target) != target:
            raise UserError(f"There is a {self.what} {name!r} already; register yours under another name.")
        self._targets[name] = target

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __getitem__(self, name: str) -> Maker:
        """The function of that name. Raises KeyError for an unknown name, UserError where its module cannot be
        imported.
        """
        target = self._targets[name]
        if callable(target):
            return target
        module, _, function = target.partition(":")
        try:
            return getattr(import_module(module), function)  # type: ignore[no-any-return]
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"The {self.what} {name!r} comes from {target}, which cannot be imported ({error}). Install the "
                "package that has it."
            ) from error


DATASETS = Registry(
    "data set", scenes="userscenes.dataset:load_scenes", pretrain="userscenes.dataset:load_scenes"
)
BACKBONES = Registry(
    "backbone",
    **{
        "timm": "userlib.data.backbones:make_timm",
        "region-mini": "userlib.data.backbones:make_region_mini",
        "efficientnet-lite2": "userlib.data.efficientnet:make_efficientnet_lite2",
        "efficientnet-lite2-wide": "userlib.data.efficientnet:make_efficientnet_lite2",
        "open_clip": "userlib.data.clip:make_clip",
        "clip-mini": "userlib.data.clip:make_clip",
        "vectors": "userlib.data.vectors:make_vectors",
        "pixels": "userlib.data.pixels:make_pixels",
    },
)


def same_network(one: object, other: object) -> bool:
    """Whether two names of a network are one, but for timm's tag, which an earlier version did not keep."""
    short, long = sorted((str(one), str(other)), key=len)
    return long == short or long.startswith(f"{short}.")
