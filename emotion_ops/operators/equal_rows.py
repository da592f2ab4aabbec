"""Which rows of two columns have equal values, bit for bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
_BITS = {2: pa.uint16(), 4: pa.uint32(), 8: pa.uint64()}


def equal_rows(left: pa.Array, right: pa.Array) -> Mask:
    """Which rows of two columns of one type and length are equal, bit for bit.

    Floats are equal if their bits are: NaN equals itself, and -0.0 does not equal 0.0. Null equals null, in nested
    values too. Of dictionaries, run-end encoding and extension types the values are compared.

    Args:
        left: A column.
        right: Another column.
    """
    left, right = _plain(left), _plain(right)
    in_left, in_right = _bools(left.is_valid()), _bools(right.is_valid())
    both: Mask = in_left & in_right
    same: Mask = in_left == in_right
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
    """``equal_rows`` for rows that are not null in both; the values for other rows have no meaning."""
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
    except pa.ArrowNotImplementedError:  # of intervals, for example
        return np.array([a.equals(b) for a, b in zip(left, right, strict=True)], dtype=bool)


def _equal_lists(left: pa.Array, right: pa.Array, both: Mask) -> Mask:
    """Lists of every kind, and maps: first their lengths are compared, then the items of lists of equal lengths."""
    lengths = pc.list_value_length(left).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    same: Mask = both & (lengths == pc.list_value_length(right).fill_null(0).to_numpy(zero_copy_only=False))
    if same.any():
        chosen = pa.array(same)
        items = equal_rows(left.filter(chosen).flatten(), right.filter(chosen).flatten())
        unequal = np.concatenate([[0], np.cumsum(~items)])
        ends = np.cumsum(lengths[same])
        same[same] = unequal[ends] == unequal[ends - lengths[same]]
    return same


def _bools(array: pa.Array) -> Mask:
    values: Mask = array.to_numpy(zero_copy_only=False)
    return values
