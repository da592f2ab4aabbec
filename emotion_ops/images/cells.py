"""Image cells of an Arrow column, whatever its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from emotion_ops.errors import ColumnTypeError, RowError, RowErrorCode
from emotion_ops.images.objects import Cell, foreign_code
from emotion_ops.images.spark import FIELDS, SparkImage, spark_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

CellGetter: TypeAlias = Callable[[int], Cell]
"""The cell of a row, by its position in one array. It may be called from any thread. It raises ``RowError`` for a cell
that cannot be read."""


def image_kind(column_type: pa.DataType, column: str) -> str:
    """What the cells of a column of this type contain, in words.

    Args:
        column_type: The Arrow type of the image column. Dictionary, run-end and extension types count as the type
            inside them.
        column: The column's name, for the error.

    Returns:
        One of ``nothing``, ``paths``, ``encoded images``, ``encoded images or paths``, ``Spark images``,
        ``pixels``.

    Raises:
        ColumnTypeError: No image can be read from a column of this type.
    """
    if pt.is_null(column_type):
        return "nothing"
    if pt.is_string(column_type) or pt.is_large_string(column_type) or pt.is_string_view(column_type):
        return "paths"
    if _is_bytes(column_type):
        return "encoded images"
    if pt.is_dictionary(column_type) or pt.is_run_end_encoded(column_type):
        return image_kind(column_type.value_type, column)
    if isinstance(column_type, pa.FixedShapeTensorType):
        shape = _tensor_shape(column_type)
        if column_type.value_type == pa.uint8() and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
            return "pixels"
        raise ColumnTypeError(column, f"tensors of {column_type.value_type} and shape {shape}")
    if isinstance(column_type, pa.BaseExtensionType):
        return image_kind(column_type.storage_type, column)
    if pt.is_struct(column_type) and (kind := _struct_kind(column_type, column)):
        return kind
    raise ColumnTypeError(column, str(column_type))


def cell_getter(array: pa.Array, column: str) -> CellGetter:
    """Access to the cells of one array, without copying the images of a binary column.

    Args:
        array: One array (chunk) of the image column; may be sliced.
        column: The column's name, for errors.

    Raises:
        ColumnTypeError: No image can be read from a column of this type.
    """
    kind = image_kind(array.type, column)
    array_type = array.type
    if kind == "nothing":
        return lambda row: None
    if pt.is_dictionary(array_type):
        indices, value_at = array.indices, cell_getter(array.dictionary, column)
        return lambda row: None if (index := indices[row].as_py()) is None else value_at(index)
    if pt.is_run_end_encoded(array_type):
        ends, start, run_at = array.run_ends.to_numpy(), array.offset, cell_getter(array.values, column)
        return lambda row: run_at(int(np.searchsorted(ends, start + row, side="right")))
    if kind == "pixels" and isinstance(array_type, pa.FixedShapeTensorType):
        return lambda row: _tensor(array.storage[row], array_type)
    if isinstance(array_type, pa.BaseExtensionType):
        return cell_getter(array.storage, column)
    if kind == "Spark images":
        return lambda row: _spark(array[row])
    if pt.is_struct(array_type):
        return _bytes_or_path(array, column)
    if kind == "paths":
        return lambda row: _text(array[row])
    if pt.is_binary(array_type) or pt.is_large_binary(array_type):
        return _views(array)
    return lambda row: _bytes(array[row])


def _struct_kind(column_type: pa.StructType, column: str) -> str | None:
    fields = {field.name: field.type for field in column_type}
    if fields.keys() >= FIELDS and _is_bytes(fields["data"]):
        return "Spark images"
    kinds = {name: image_kind(fields[name], f"{column}.{name}") for name in ("bytes", "path") if name in fields}
    wanted = {"bytes": ("encoded images", "nothing"), "path": ("paths", "nothing")}
    fits = kinds and all(kind in wanted[name] for name, kind in kinds.items())
    return "encoded images or paths" if fits else None


def _is_bytes(data_type: pa.DataType) -> bool:
    return bool(
        pt.is_binary(data_type)
        or pt.is_large_binary(data_type)
        or pt.is_binary_view(data_type)
        or pt.is_fixed_size_binary(data_type)
    )


def _text(scalar: pa.Scalar) -> str | None:
    try:
        text: str | None = scalar.as_py()
    except UnicodeDecodeError as error:
        raise RowError(RowErrorCode.UNREADABLE, f"the path is not UTF-8 ({error.reason})") from None
    return text


def _views(array: pa.Array) -> CellGetter:
    """Views by the offsets, since a scalar of Arrow would be a copy."""
    _, ends, data = array.buffers()
    if not len(array) or data is None:
        return lambda row: _bytes(array[row])
    width = np.int64 if pt.is_large_binary(array.type) else np.int32
    offsets = np.frombuffer(ends, width)[array.offset :]
    valid, view = array.is_valid(), memoryview(data)
    return lambda row: view[offsets[row] : offsets[row + 1]] if valid[row].as_py() else None


def _bytes(scalar: pa.Scalar) -> memoryview | None:
    buffer = scalar.as_buffer()
    return None if buffer is None else memoryview(buffer)


def _tensor_shape(tensor: pa.FixedShapeTensorType) -> tuple[int, ...]:
    """The shape with the axes in their logical order."""
    axes = tensor.permutation or range(len(tensor.shape))
    return tuple(tensor.shape[axis] for axis in axes)


def _tensor(scalar: pa.FixedSizeListScalar, tensor: pa.FixedShapeTensorType) -> NDArray[np.uint8] | None:
    if not scalar.is_valid:
        return None
    # pyarrow's own to_numpy confuses the permutation with its inverse
    pixels: NDArray[np.uint8] = scalar.values.to_numpy().reshape(tensor.shape)
    return pixels if tensor.permutation is None else pixels.transpose(tensor.permutation)


def _bytes_or_path(array: pa.StructArray, column: str) -> CellGetter:
    names = {field.name for field in array.type}
    valid = array.is_valid()
    getters = [cell_getter(array.field(name), column) for name in ("bytes", "path") if name in names]

    def get(row: int) -> Cell:
        if not valid[row].as_py():
            return None
        return next((cell for getter in getters if (cell := getter(row)) is not None), None)

    return get


def _spark(scalar: pa.StructScalar) -> SparkImage | None:
    if not scalar.is_valid or not scalar["data"].is_valid:
        return None
    height, width, channels = (scalar[name].as_py() for name in ("height", "width", "nChannels"))
    with foreign_code(scalar):
        return spark_image(height, width, channels, scalar["data"].as_buffer())
