"""What a piece of code does to a device: the operations that make the host wait, and the bytes that live at a time."""

import traceback
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Each needs a number on the host, or a size that only the values tell.
WAITS = {
    "_local_scalar_dense", "item", "nonzero", "masked_select", "is_nonzero", "equal", "_unique", "_unique2",
    "unique_dim", "unique_consecutive", "nonzero_numpy", "bincount", "_assert_async",
}  # fmt: skip


class Waits(TorchDispatchMode):
    """Collects them, with the line of userlib (or below it) that asked."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        by_mask = name in ("index", "index_put", "index_put_") and any(
            one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1]
        )
        if name in WAITS or by_mask or (name == "repeat_interleave" and len(args) == 1):
            frames = [frame for frame in traceback.extract_stack() if "/userlib/" in frame.filename]
            self.found.append(f"{name} in {frames[-1].filename}:{frames[-1].lineno}" if frames else name)
        return function(*args, **(kwargs or {}))


class Memory(TorchDispatchMode):
    """Bytes of the tensors made within it: those alive, and the most at a time."""

    def __init__(self):
        super().__init__()
        self.alive = self.peak = 0
        self._known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, torch.Tensor):
                self._count(one.untyped_storage())
        return result

    def _count(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key, size):
        self._known.discard(key)
        self.alive -= size
