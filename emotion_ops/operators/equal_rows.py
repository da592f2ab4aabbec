"""Which rows of two columns hold the same, bit for bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
_BITS = {2: pa.uint16(), 4: pa.uint32(), 8: pa.uint64()}


def equal_rows(left: pa.Array, right: pa.Array) -> Mask:
    """Which rows of two columns of one type and length are equal, bit for bit.

    Floats are equal when their bits are: NaN equals itself, and -0.0 is not 0.0. Null equals null, at every
    depth. Dictionaries, runs and extension types are compared by what they stand for.

    Args:
        left: A column.
        right: Another.
    """
    left, right = _plain(left), _plain(right)
    here, there = _bools(left.is_valid()), _bools(right.is_valid())
    both: Mask = here & there
    same: Mask = here == there
    if both.any():
        same &= ~both | _equal_values(left, right, both)
    return same


def _plain(array: pa.Array) -> pa.Array:
    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        elif isinstance(array, pa.DictionaryArray):
            array = array.dictionary_decode()
        elif isinstance(array, pa.RunEndEncodedArray):
            array = pc.run_end_decode(array)
        elif pa.types.is_map(array.type):
            pair = pa.struct([array.type.key_field, array.type.item_field])
            array = array.cast(pa.list_(pair))
        else:
            return array


def _equal_values(left: pa.Array, right: pa.Array, both: Mask) -> Mask:
    """As ``equal_rows``, of rows that are valid on both sides; what it says of others counts for nothing."""
    kind = left.type
    if pa.types.is_floating(kind):
        bits = _BITS[kind.byte_width]
        left, right = left.view(bits), right.view(bits)
    elif pa.types.is_struct(kind):
        fields = [equal_rows(a, b) for a, b in zip(left.flatten(), right.flatten(), strict=True)]
        return np.logical_and.reduce(fields) if fields else both
    elif pa.types.is_nested(kind):
        return _equal_lists(left, right, both)
    try:
        return _bools(pc.equal(left, right).fill_null(False))
    except pa.ArrowNotImplementedError:  # intervals, say
        return np.array([a.equals(b) for a, b in zip(left, right, strict=True)], dtype=bool)


def _equal_lists(left: pa.Array, right: pa.Array, both: Mask) -> Mask:
    """Lists of every kind, and maps: equal lengths, then their items, which stand side by side."""
    lengths = pc.list_value_length(left).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    alike: Mask = both & (lengths == pc.list_value_length(right).fill_null(0).to_numpy(zero_copy_only=False))
    if alike.any():
        chosen = pa.array(alike)
        items = equal_rows(left.filter(chosen).flatten(), right.filter(chosen).flatten())
        unequal = np.concatenate([[0], np.cumsum(~items)])
        ends = np.cumsum(lengths[alike])
        alike[alike] = unequal[ends] == unequal[ends - lengths[alike]]
    return alike


def _bools(array: pa.Array) -> Mask:
    values: Mask = array.to_numpy(zero_copy_only=False)
    return values
