"""Choosing the lowest of several bits that are 1."""

from amaranth import Cat, Const, Mux, Value


def lowest(bits: Value) -> Value:
    """Index of the lowest 1 in `bits`, by a tree of selections; 0 if there is none."""
    if len(bits) == 1:
        return Const(0, 1)
    half = 1 << (len(bits) - 1).bit_length() - 1
    low, high = bits[:half], bits[half:]
    below, above = lowest(low), lowest(high)
    upper = ~low.any() & high.any()
    return upper if half == 1 else Cat(Mux(low.any(), below, above), upper)
