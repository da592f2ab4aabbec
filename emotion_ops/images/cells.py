"""The cells of an image column, whatever its Arrow type.

A cell is a plain Python value, so that tables of every kind feed the same decoder:

    None                  nothing there
    str                   a path or URI
    bytes, memoryview     an encoded image; of a binary column a view of Arrow's own buffer, not a copy
    numpy.ndarray         decoded pixels, uint8
    PIL.Image.Image       a picture that a pandas object column or a list holds
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from emotion_ops.errors import ColumnTypeError, RowError, RowErrorCode

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

Cell: TypeAlias = "str | bytes | memoryview | NDArray[Any] | Image.Image | None"
CellGetter: TypeAlias = Callable[[int], Cell]

_SPARK_IMAGE_FIELDS = {"height", "width", "nChannels", "mode", "data"}


def kind_of(column_type: pa.DataType, column: str) -> str:
    """Say in words what kind of cells a column of this type holds.

    Args:
        column_type: The image column's Arrow type; dictionary, run-end and extension types are looked into.
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
        return kind_of(column_type.value_type, column)
    if isinstance(column_type, pa.FixedShapeTensorType):
        shape = _tensor_shape(column_type)
        if column_type.value_type == pa.uint8() and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
            return "pixels"
        raise ColumnTypeError(column, f"tensors of {column_type.value_type} and shape {shape}")
    if isinstance(column_type, pa.BaseExtensionType):
        return kind_of(column_type.storage_type, column)
    if pt.is_struct(column_type) and (kind := _struct_kind(column_type, column)):
        return kind
    raise ColumnTypeError(column, str(column_type))


def cells_of(array: pa.Array, column: str) -> CellGetter:
    """Give access to the cells of one array by position, without copying the images of a binary column.

    Args:
        array: One array (chunk) of the image column; may be sliced.
        column: The column's name, for errors.

    Returns:
        A function from a row's position in ``array`` to its cell. It may be called from any thread, and
        raises ``RowError`` for a cell that cannot be read at all (text that is not UTF-8, say).

    Raises:
        ColumnTypeError: No image can be read from a column of this type.
    """
    kind = kind_of(array.type, column)
    array_type = array.type
    if kind == "nothing":
        return lambda row: None
    if pt.is_dictionary(array_type):
        indices, value_at = array.indices, cells_of(array.dictionary, column)
        return lambda row: None if (index := indices[row].as_py()) is None else value_at(index)
    if pt.is_run_end_encoded(array_type):
        ends, start, run_at = array.run_ends.to_numpy(), array.offset, cells_of(array.values, column)
        return lambda row: run_at(int(np.searchsorted(ends, start + row, side="right")))
    if kind == "pixels" and isinstance(array_type, pa.FixedShapeTensorType):
        return lambda row: _tensor(array.storage[row], array_type)
    if isinstance(array_type, pa.BaseExtensionType):
        return cells_of(array.storage, column)
    if kind == "Spark images":
        return lambda row: _spark_pixels(array[row])
    if pt.is_struct(array_type):
        return _bytes_or_path(array, column)
    if kind == "paths":
        return lambda row: _text(array[row])
    if pt.is_binary(array_type) or pt.is_large_binary(array_type):
        return _views(array)
    return lambda row: _bytes(array[row])


def cell_of(value: Any) -> Cell:
    """Turn one Python object of a pandas object column or a list into a cell.

    Accepts what a cell is, and ``pathlib`` paths, ``bytearray``, the ``{"bytes": …, "path": …}`` dict of
    Hugging Face datasets, and the missing values of pandas. What else it meets it hands on, for the
    decoder to refuse as that row's error.
    """
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, bytearray | memoryview):
        return value if isinstance(value, memoryview) and value.contiguous and value.itemsize == 1 else bytes(value)
    if isinstance(value, dict):
        encoded = value.get("bytes")
        return cell_of(value.get("path") if encoded is None else encoded)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value  # type: ignore[no-any-return]  # anything: the decoder names its type in the row's error


def size_of(cell: Cell) -> int:
    """Bytes that a cell keeps alive in memory until it is decoded; 0 for a path."""
    if isinstance(cell, bytes | memoryview):
        return len(cell)
    return cell.nbytes if isinstance(cell, np.ndarray) else 0


def getter_of(values: Sequence[Any]) -> CellGetter:
    """Access by position to the cells of a sequence of Python objects."""
    return lambda row: cell_of(values[row])


def _struct_kind(column_type: pa.StructType, column: str) -> str | None:
    fields = {field.name: field.type for field in column_type}
    if fields.keys() >= _SPARK_IMAGE_FIELDS and _is_bytes(fields["data"]):
        return "Spark images"
    kinds = {name: kind_of(fields[name], f"{column}.{name}") for name in ("bytes", "path") if name in fields}
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
    """By the offsets, since a scalar of Arrow's would be a copy."""
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
    """The shape as its user sees it, with the axes in their logical order."""
    axes = tensor.permutation or range(len(tensor.shape))
    return tuple(tensor.shape[axis] for axis in axes)


def _tensor(scalar: pa.FixedSizeListScalar, tensor: pa.FixedShapeTensorType) -> NDArray[np.uint8] | None:
    if not scalar.is_valid:
        return None
    # by hand, since pyarrow's own to_numpy takes the permutation for its inverse
    pixels: NDArray[np.uint8] = scalar.values.to_numpy().reshape(tensor.shape)
    return pixels if tensor.permutation is None else pixels.transpose(tensor.permutation)


def _bytes_or_path(array: pa.StructArray, column: str) -> CellGetter:
    names = {field.name for field in array.type}
    valid = array.is_valid()
    getters = [cells_of(array.field(name), column) for name in ("bytes", "path") if name in names]

    def get(row: int) -> Cell:
        if not valid[row].as_py():
            return None
        return next((cell for getter in getters if (cell := getter(row)) is not None), None)

    return get


def _spark_pixels(scalar: pa.StructScalar) -> NDArray[np.uint8] | None:
    """Pixels of Spark's image struct: rows of uint8 in OpenCV's BGR order, given back as RGB."""
    if not scalar.is_valid or not scalar["data"].is_valid:
        return None
    height, width, channels = (scalar[name].as_py() for name in ("height", "width", "nChannels"))
    data = np.frombuffer(scalar["data"].as_buffer(), dtype=np.uint8)
    if channels not in (1, 3, 4) or (height or 0) < 1 or (width or 0) < 1 or data.size != height * width * channels:
        raise RowError(
            RowErrorCode.UNDECODABLE,
            f"Spark image of {height} × {width} with {channels} channels has {data.size} bytes of data",
        )
    pixels = data.reshape(height, width, channels)
    return pixels if channels == 1 else pixels[:, :, [2, 1, 0, 3][:channels]]
