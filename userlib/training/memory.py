"""What training on a CPU needs of the system's allocator: to keep the memory that a step frees.

glibc hands every freed tensor above 32 MB back to the system, and the next step's tensors are then filled with zeros
by the kernel, page by page, before a single number is written: at the paper's shapes this costs more than the
elementwise operations themselves.
"""

import ctypes
import platform

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # names of malloc.h
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """From here on this process keeps what it frees and uses it again; True where the system can (Linux with glibc).

    The peak stays what it was. It holds for the whole process and does not change any result.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    malloc = ctypes.CDLL(None)
    return bool(malloc.mallopt(MMAP_MAX, 0)) and bool(malloc.mallopt(TRIM_THRESHOLD, NEVER))
