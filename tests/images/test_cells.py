"""Cells of every kind give their image, and a cell that cannot be read fails its own row, whatever its object does."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pictures import encode, photo
from PIL import Image

from emotion_ops import Access, ClassifyEmotions, Decoding, Limits, RowError, classify_emotions
from emotion_ops.images.cells import cell_getter
from emotion_ops.images.loader import ImageLoader
from emotion_ops.images.memory import Memory
from emotion_ops.images.objects import cell_bytes, to_cell

BGR = np.asarray(photo(1))[:, :, ::-1]
SPARK = pa.struct(
    {"origin": pa.string(), "height": pa.int32(), "width": pa.int32(), "nChannels": pa.int32(), "mode": pa.int32(),
     "data": pa.binary()}
)  # fmt: skip


def load(cell: Any, channels: Any = "rgb") -> np.ndarray:
    return ImageLoader(Access(), Limits(), Decoding(channels=channels), np.asarray, Memory(2**28)).load(cell)


def spark(pixels: np.ndarray = BGR, **changed: Any) -> dict[str, Any]:
    height, width, channels = pixels.shape
    fields = {"height": height, "width": width, "nChannels": channels, "mode": 16, "data": pixels.tobytes()}
    return {"origin": "file:///a.png", **fields, **changed}


def error(cell: Any) -> str:
    with pytest.raises(RowError) as caught:
        load(to_cell(cell))
    assert "\n" not in caught.value.detail
    assert len(caught.value.detail) < 300
    return str(caught.value)


# Objects that raise


class PathThatRaises:
    def __fspath__(self) -> str:
        raise LookupError("the archive is closed")


class PathOfANumber:
    def __fspath__(self) -> Any:
        return 3


class MappingThatRaises(dict[str, Any]):
    def get(self, *_: Any) -> Any:
        raise ConnectionError("the store is gone")


class ImageThatRaises(Image.Image):
    @property
    def size(self) -> tuple[int, int]:
        raise RuntimeError("no size")

    @size.setter
    def size(self, value: tuple[int, int]) -> None: ...


class ArrayThatRaises(np.ndarray):
    @property
    def dtype(self) -> Any:
        raise RuntimeError("no dtype")


class FloatThatRaises(float):
    def __ne__(self, other: object) -> bool:
        raise ArithmeticError("cannot be compared")


def released_view() -> memoryview:
    view = memoryview(encode(photo()))
    view.release()
    return view


def nested_in_itself() -> dict[str, Any]:
    cell: dict[str, Any] = {}
    cell["bytes"] = cell
    return cell


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (PathThatRaises(), "unreadable: the PathThatRaises in the cell cannot be read (LookupError: the archive"),
        (PathOfANumber(), "unreadable: the PathOfANumber in the cell cannot be read (TypeError: "),
        (MappingThatRaises(bytes=b"", path=""), "unreadable: the MappingThatRaises in the cell cannot be read"),
        (ImageThatRaises(), "unreadable: the ImageThatRaises in the cell cannot be read (RuntimeError: no size)"),
        (BGR.view(ArrayThatRaises), "unreadable: the ArrayThatRaises in the cell cannot be read (RuntimeError: no"),
        (FloatThatRaises(1), "unreadable: the FloatThatRaises in the cell cannot be read (ArithmeticError: cannot be"),
        (released_view(), "unreadable: the memoryview in the cell cannot be read (ValueError: operation forbidden"),
        (nested_in_itself(), "unreadable: the dict in the cell cannot be read (RecursionError: "),
        (spark(data=7), "unreadable: the dict in the cell cannot be read (TypeError: "),
    ],
)  # fmt: skip
def test_an_object_that_raises_is_its_rows_error(cell: Any, expected: str) -> None:
    assert error(cell).startswith(expected)


def test_a_view_that_is_released_after_it_was_read_is_its_rows_error() -> None:
    view = memoryview(encode(photo()))
    cell = to_cell(view)
    view.release()
    with pytest.raises(RowError, match=r"^unreadable: the memoryview in the cell cannot be read"):
        load(cell)
    assert cell_bytes(cell) == 0


def test_objects_that_raise_do_not_stop_the_rows_around_them(tiny_model: str) -> None:
    cells = [photo(1), PathThatRaises(), released_view(), nested_in_itself(), photo(2)]
    frame = pd.DataFrame({"image": pd.Series(cells, dtype=object)})
    errors = classify_emotions(frame, model=tiny_model)["emotion_error"]
    assert [None if pd.isna(text) else text.partition(":")[0] for text in errors] == [
        None, "unreadable", "unreadable", "unreadable", None,
    ]  # fmt: skip


# Images without pixels


def empty_png() -> bytes:
    png = encode(photo())
    header = b"IHDR" + struct.pack(">II", 0, 131) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def empty_bmp() -> bytes:
    return encode(photo(), "BMP")[:18] + struct.pack("<ii", 0, 131) + encode(photo(), "BMP")[26:]


def empty_jpeg() -> bytes:
    data = encode(photo(), "JPEG")
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + bytes(4) + data[start + 4 :]


@pytest.mark.parametrize(
    "cell",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0), np.uint8),
        Image.new("RGB", (0, 5)),
        Image.new("L", (5, 0)),
        spark(height=0, data=b""),
        spark(width=0, data=b""),
        spark(nChannels=0, data=b""),
        empty_png(),
        empty_bmp(),
        empty_jpeg(),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_an_image_without_pixels_is_undecodable_in_every_form(cell: Any) -> None:
    assert error(cell).startswith("undecodable: ")


# Spark's image struct


def test_dicts_and_structs_of_sparks_image_give_the_same_pixels_whatever_the_order_of_other_arrays() -> None:
    rgb, grey = np.asarray(photo(1)), np.asarray(photo(1).convert("L"))
    alpha = np.dstack([BGR, np.full(BGR.shape[:2], 9, np.uint8)])
    for pixels, expected in ((BGR, rgb), (alpha, rgb), (grey[:, :, None], np.dstack([grey] * 3))):
        column = cell_getter(pa.array([spark(pixels), None, spark(data=None)], SPARK), "image")
        assert column(1) is column(2) is None
        for cell in (to_cell(spark(pixels)), to_cell(spark(pixels, data=bytearray(pixels))), column(0)):
            assert cell_bytes(cell) == pixels.nbytes
            for channels in ("rgb", "bgr"):
                np.testing.assert_array_equal(load(cell, channels), expected)
    np.testing.assert_array_equal(load(BGR, "bgr"), rgb)


@pytest.mark.parametrize(
    "changed",
    [{"height": 131.0}, {"width": float("nan")}, {"height": None}, {"nChannels": 2}, {"height": True, "width": 131 * 97},
     {"height": -131, "width": -97}, {"height": "131"}, {"data": BGR.tobytes()[:-1]}],
)  # fmt: skip
def test_sizes_of_sparks_image_that_do_not_fit_its_data_are_undecodable(changed: dict[str, Any]) -> None:
    assert error(spark(**changed)).startswith("undecodable: Spark image of ")


def test_a_struct_of_spark_with_float_sizes_fails_its_row_only(tiny_model: str) -> None:
    floats = pa.struct([field.with_type(pa.float64()) if field.name == "height" else field for field in SPARK])
    table = pa.table({"image": pa.array([spark(height=131.0), None], floats)})
    errors = ClassifyEmotions(model=tiny_model)(table)["emotion_error"].to_pylist()
    assert [text.partition(":")[0] for text in errors] == ["undecodable", "missing"]


# Other dicts


def test_a_dict_of_bytes_and_path_is_read_and_bytes_come_first(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(photo(2)))
    path = str(tmp_path / "a.png")
    np.testing.assert_array_equal(load(to_cell({"bytes": encode(photo(1)), "path": path})), np.asarray(photo(1)))
    for cell in ({"bytes": None, "path": path}, {"path": Path(path)}):
        np.testing.assert_array_equal(load(to_cell(cell)), np.asarray(photo(2)))
    assert error({"bytes": None, "path": None}) == "missing: the cell is null"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [({}, "a dict with no keys"), ({"url": "a.png", 3: 4}, "a dict with 'url', 3"),
     ({"height": 1, "width": 1, "data": b"x"}, "a dict with 'height', 'width', 'data'")],
)  # fmt: skip
def test_an_unknown_dict_is_unsupported_and_says_what_it_has(cell: dict[Any, Any], shown: str) -> None:
    hint = "give bytes and path, or the fields of Spark's image struct"
    assert error(cell) == f"unsupported: {shown}; {hint}"


def test_an_object_that_is_no_image_is_unsupported_and_named() -> None:
    for cell, name in ((3, "int"), (io.BytesIO(encode(photo())), "BytesIO"), ([1, 2], "list")):
        assert error(cell).startswith(f"unsupported: a cell of type {name}; give ")
