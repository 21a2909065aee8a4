"""A device that is not there: tensors are marked as lying on a GPU, and what a GPU refuses is refused."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda:0")
# from one device to the other, or with indices on either
ACROSS = {torch.Tensor.copy_, torch.Tensor.__getitem__, torch.Tensor.__setitem__}


def there(value):
    return isinstance(value, torch.Tensor) and getattr(value, "is_elsewhere", False)


def place(*modules):
    """Marks the weights of modules, as `.to("cuda")` would move them."""
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.is_elsewhere = True


def _mark(outcome, mark):
    for value in tree_leaves(outcome):
        if isinstance(value, torch.Tensor):
            value.is_elsewhere = mark
    return outcome


def _here(value):
    return "cpu" if isinstance(value, torch.device | str) and str(value).startswith("cuda") else value


class Elsewhere(TorchFunctionMode):
    """Within it, tensors from `.to("cuda")` and from what is marked are on a GPU for all that userlib can tell."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.device:
            return function(*args, **kwargs)
        if function == torch.Tensor.device.__get__:
            return GPU if there(args[0]) else function(*args)
        if function is torch.Tensor.numpy and there(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if function is torch.Tensor.cpu:
            return _mark(function(*args).clone(), False)
        named = [str(v) for v in (*args, *kwargs.values()) if isinstance(v, torch.device | str)]
        wanted = [name for name in named if name.partition(":")[0] in ("cpu", "cuda")]
        if wanted:
            outcome = function(*map(_here, args), **{key: _here(value) for key, value in kwargs.items()})
            return _mark(outcome.clone(), wanted[0] != "cpu")
        tensors = [v for v in tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
        far = [v for v in tensors if there(v)]
        if far and function not in ACROSS and any(v.dim() and not there(v) for v in tensors):
            raise RuntimeError(f"{function} was given tensors on two devices")
        outcome = function(*args, **kwargs)
        if function in (torch.Tensor.copy_, torch.Tensor.__setitem__):
            return outcome
        return _mark(outcome, True) if far else outcome
