"""The profile of a piece of code: the share of time of each operation, in percent."""

import os
from collections import Counter
from collections.abc import Callable

import torch

from userlab.bench.gemms import OPERANDS

PRODUCTS, OTHERS, REST = "matrix products", "other operations", "Python and numpy"


def op_profile(fn: Callable[[], object], *, most: int = 8) -> dict[str, float]:
    """Percent of the time of one call of `fn`: matrix products, the next `most` operations, others, Python and numpy.

    Measured by torch's profiler after one call to warm up; an operation's time excludes the operations that it calls.
    Sorted is GPO's sort by numpy, Direction the BiGRU's Python code. On a GPU these are the times of kernels.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler complains to stderr where there is no GPU
    fn()
    gpu = "cuda" if torch.cuda.is_available() else None
    with (
        torch.autograd.profiler.profile(use_device=gpu) as profile,
        torch.autograd.profiler.record_function(REST),
    ):
        fn()
    times: Counter[str] = Counter()
    for event in profile.key_averages():
        name = event.key.removeprefix("aten::")
        own = event.self_device_time_total if gpu else event.self_cpu_time_total
        times[PRODUCTS if name in OPERANDS else name.strip("_")] += own
    products, rest = times.pop(PRODUCTS, 0.0), times.pop(REST, 0.0)
    ranked = times.most_common()
    parts = {
        PRODUCTS: products,
        **dict(ranked[:most]),
        OTHERS: sum(time for _, time in ranked[most:]),
        REST: rest,
    }
    whole = sum(parts.values())
    return {name: 100 * part / whole for name, part in parts.items()}
