"""A setting of the system's allocator for training on a CPU: keep the memory that a step frees.

glibc returns every freed tensor above 32 MB to the system, and the kernel then fills the tensors of the next step with
zeros, page by page: at the paper's shapes this costs more than the elementwise operations themselves.
"""

import ctypes
import platform

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # names of malloc.h
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """From now on this process reuses the memory that it frees; True where the system supports it (Linux with glibc).

    This affects the whole process, but neither its peak memory nor any result.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    malloc = ctypes.CDLL(None)
    return bool(malloc.mallopt(MMAP_MAX, 0)) and bool(malloc.mallopt(TRIM_THRESHOLD, NEVER))
