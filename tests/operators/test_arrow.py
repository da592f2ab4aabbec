"""Every Arrow type that a column of images may have gives the same numbers and the same schema."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pictures import encode, jpeg, photo
from PIL import Image

from emotion_ops import Access, ClassifyEmotions, Resources
from emotion_ops.images.cells import cell_getter

IMAGES = [jpeg(seed, 50, 40) for seed in range(5)]


class Picture(pa.ExtensionType):
    """An extension type of another package, stored as binary."""

    def __init__(self) -> None:
        super().__init__(pa.binary(), "tests.picture")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Picture:
        return cls()


def spark_images(images: list[bytes | None]) -> pa.Array:
    """What Spark's image source gives: pixels in the order BGR."""
    rows = []
    for data in images:
        pixels = None if data is None else np.asarray(Image.open(__import__("io").BytesIO(data)).convert("RGB"))
        rows.append(None if pixels is None else {
            "origin": "file:///x", "height": pixels.shape[0], "width": pixels.shape[1], "nChannels": 3, "mode": 16,
            "data": pixels[:, :, ::-1].tobytes(),
        })  # fmt: skip
    kind = pa.struct(
        [
            ("origin", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("nChannels", pa.int32()),
            ("mode", pa.int32()),
            ("data", pa.binary()),
        ]
    )
    return pa.array(rows, kind)


def tensors(images: list[bytes | None]) -> pa.Array:
    import io

    pixels = [np.asarray(Image.open(io.BytesIO(data or IMAGES[0])).convert("RGB")) for data in images]
    kind = pa.fixed_shape_tensor(pa.uint8(), pixels[0].shape)
    flat = pa.array(
        [None if data is None else image.ravel() for data, image in zip(images, pixels, strict=True)],
        kind.storage_type,
    )
    return pa.ExtensionArray.from_storage(kind, flat)


def channels_first_tensors(images: list[bytes | None]) -> pa.Array:
    """Images as PyTorch has them, (3, height, width), with the permutation of their axes."""
    plain = tensors(images)
    height, width, _ = plain.type.shape
    kind = pa.fixed_shape_tensor(pa.uint8(), (3, height, width), permutation=[1, 2, 0])
    flat = [None if data is None else np.asarray(pixels.values).reshape(height, width, 3).transpose(2, 0, 1).ravel()
            for data, pixels in zip(images, plain.storage, strict=True)]  # fmt: skip
    return pa.ExtensionArray.from_storage(kind, pa.array(flat, kind.storage_type))


def paths(images: list[bytes | None], folder: Any) -> list[str | None]:
    names = []
    for data in images:
        names.append(None if data is None else str(folder / f"{hash(data)}.jpg"))
        if data is not None:
            (folder / f"{hash(data)}.jpg").write_bytes(data)
    return names


KINDS = {
    "binary": lambda cells, _: pa.array(cells, pa.binary()),
    "large_binary": lambda cells, _: pa.array(cells, pa.large_binary()),
    "binary_view": lambda cells, _: pa.array(cells, pa.binary_view()),
    "fixed_size_binary": lambda cells, _: pa.array([c and c.ljust(9000, b"\0") for c in cells], pa.binary(9000)),
    "string path": lambda cells, folder: pa.array(paths(cells, folder), pa.string()),
    "large_string path": lambda cells, folder: pa.array(paths(cells, folder), pa.large_string()),
    "string_view path": lambda cells, folder: pa.array(paths(cells, folder), pa.string_view()),
    "dictionary of binary": lambda cells, _: pa.array(cells, pa.binary()).dictionary_encode(),
    "dictionary of paths": lambda cells, folder: pa.array(paths(cells, folder)).dictionary_encode(),
    "run-end encoded": lambda cells, _: pa.compute.run_end_encode(pa.array(cells, pa.binary())),
    "struct<bytes, path>": lambda cells, _: pa.array([c and {"bytes": c, "path": "x.jpg"} for c in cells], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    "struct<path, bytes> with the path only": lambda cells, folder: pa.array(
        [{"bytes": None, "path": path} for path in paths(cells, folder)], pa.struct([("path", pa.string()), ("bytes", pa.binary())])
    ),
    "struct of large types": lambda cells, _: pa.array([{"bytes": c, "path": None} for c in cells], pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])),
    "an extension type": lambda cells, _: pa.ExtensionArray.from_storage(Picture(), pa.array(cells, pa.binary())),
    "Spark images": lambda cells, _: spark_images(cells),
    "fixed-shape tensors": lambda cells, _: tensors(cells),
    "permuted tensors": lambda cells, _: channels_first_tensors(cells),
}  # fmt: skip


@pytest.fixture(scope="module")
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model, batch_size=3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", ["whole", "sliced", "empty", "all null"])
def test_every_type_of_column_gives_the_same_numbers_and_the_schema_that_output_schema_gave(
    operator: ClassifyEmotions, tmp_path: Any, kind: str, cut: str
) -> None:
    cells: list[bytes | None] = [None] * 3 if cut == "all null" else [IMAGES[0], IMAGES[1], IMAGES[1], None, IMAGES[2]]
    array = KINDS[kind](cells, tmp_path)
    if cut == "sliced":
        array, cells = array.slice(1, 3), cells[1:4]
    if cut == "empty":
        array, cells = array.slice(2, 0), []
    batch = pa.RecordBatch.from_arrays(
        [pa.array(range(len(cells)), pa.int64()), array],
        schema=pa.schema(
            [pa.field("id", pa.int64(), metadata={"a": "b"}), pa.field("image", array.type)], metadata={"k": "v"}
        ),
    )
    out = operator(batch)
    assert out.schema.equals(operator.output_schema(batch.schema), check_metadata=True)
    assert out.schema.metadata == {b"k": b"v"}
    assert out.column("image").equals(array)
    expected = operator(pa.record_batch({"image": pa.array(cells, pa.binary())}))
    assert out.column("emotion").to_pylist() == expected.column("emotion").to_pylist()
    assert [e and e.partition(":")[0] for e in out.column("emotion_error").to_pylist()] == [
        "missing" if cell is None else None for cell in cells
    ]
    for name in operator.output_columns().probabilities:
        np.testing.assert_allclose(
            out.column(name).to_numpy(zero_copy_only=False),
            expected.column(name).to_numpy(zero_copy_only=False),
            atol=1e-6,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_failed_rows_can_be_dropped_from_columns_of_every_type(tiny_model: str, tmp_path: Any, kind: str) -> None:
    array = KINDS[kind]([None, IMAGES[0], IMAGES[1], None, IMAGES[2], None], tmp_path)
    views = pa.array([None, "a", "b", None, "c", None], pa.string_view())
    batch = pa.record_batch({"image": array, "view": views, "runs": pa.compute.run_end_encode(pa.array([7] * 6))})
    dropping = ClassifyEmotions(model=tiny_model, on_error="drop")
    for table in (batch, pa.Table.from_batches([batch.slice(0, 3), batch.slice(3)])):
        out = dropping(table)
        assert out.schema.equals(dropping.output_schema(batch.schema))
        assert out.column("view").to_pylist() == ["a", "b", "c"]
        assert out.column("runs").to_pylist() == [7, 7, 7]
        assert out.column("emotion").null_count == 0
        assert len(dropping(table.slice(3, 1))) == 0


def test_every_row_of_a_column_of_type_null_is_missing(operator: ClassifyEmotions) -> None:
    out = operator(pa.table({"image": pa.nulls(3)}))
    assert out.column("emotion").null_count == 3
    assert out.column("emotion_error").to_pylist() == ["missing: the cell is null"] * 3


def test_the_chunks_metadata_and_columns_of_a_table_pass_through_unchanged(operator: ClassifyEmotions) -> None:
    images = pa.chunked_array(
        [pa.array(IMAGES[:2], pa.binary()), pa.array([], pa.binary()), pa.array(IMAGES[2:4], pa.binary())]
    )
    other = pa.chunked_array([pa.array(["a", None, "c", "d"]).dictionary_encode()])
    table = pa.table({"image": images, "other": other}).replace_schema_metadata({"owner": "someone"})
    out = operator(table)
    assert out.schema.equals(operator.output_schema(table.schema), check_metadata=True)
    assert out.column("image").num_chunks == 3
    assert out.select(["image", "other"]).equals(table, check_metadata=True)
    assert out.column("emotion").num_chunks == 3


def test_a_table_without_chunks_becomes_a_table_without_rows_of_the_output_schema(operator: ClassifyEmotions) -> None:
    table = pa.schema([("image", pa.large_binary())]).empty_table()
    out = operator(table)
    assert (out.num_rows, out.schema) == (0, operator.output_schema(table.schema))


def test_a_stream_without_batches_gives_none_and_empty_batches_come_out_empty(operator: ClassifyEmotions) -> None:
    assert list(operator.stream([])) == []
    empty = pa.record_batch({"image": pa.array([], pa.binary())})
    assert [batch.num_rows for batch in operator.stream([empty, empty])] == [0, 0]


@pytest.mark.slow
def test_a_binary_column_of_more_than_2_gib_does_not_overflow(operator: ClassifyEmotions) -> None:
    """23 cells of 100 MB each: too_large rows between good ones, past what 32-bit offsets reach."""
    filler = b"\xff\xd8\xff" + bytes(100_000_000)
    cells = [IMAGES[0], *[filler] * 22, IMAGES[1]]
    assert sum(map(len, cells)) > 2**31
    expected = operator(pa.table({"image": IMAGES[:2]})).column("emotion_sad").to_pylist()
    large = pa.chunked_array([pa.array(cells, pa.large_binary())])
    chunked = pa.chunked_array([pa.array(cells[:12], pa.binary()), pa.array(cells[12:], pa.binary())])
    for column in (large, chunked):
        out = operator(pa.table({"image": column}))
        assert out.num_rows == 24
        assert [out.column("emotion_sad")[row].as_py() for row in (0, 23)] == pytest.approx(expected, abs=1e-6)
        assert {e.partition(":")[0] for e in out.column("emotion_error").to_pylist()[1:23]} == {"too_large"}
        assert out.column("image").type == column.type
        dropped = ClassifyEmotions(model=operator.model, on_error="drop")(pa.table({"image": column}))
        assert dropped.column("emotion_sad").to_pylist() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.sampled_from([0, 1, 2, 3, 4, None, "broken"]), max_size=23),
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    batch_size=st.integers(1, 9),
    threads=st.integers(1, 5),
    memory=st.sampled_from([1, 2, 4000, 2**29]),
)
def test_order_count_and_numbers_of_rows_do_not_depend_on_batches(
    tiny_model: str, rows: list[Any], sizes: list[int], batch_size: int, threads: int, memory: int
) -> None:
    cells = [row if row is None else b"broken" if row == "broken" else IMAGES[row] for row in rows]
    table = pa.table({"id": pa.array(range(len(rows)), pa.int64()), "image": pa.array(cells, pa.binary())})
    batches, start = [], 0
    while start < len(rows):
        for size in sizes:
            batches += table.slice(start, size).to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
            start += size
        if not any(sizes):
            batches += table.to_batches()
            break
    operator = ClassifyEmotions(
        model=tiny_model, batch_size=batch_size, resources=Resources(threads=threads, memory=memory)
    )
    out = list(operator.stream(iter(batches)))
    assert [batch.num_rows for batch in out] == [batch.num_rows for batch in batches]
    whole = pa.Table.from_batches(out, operator.output_schema(table.schema))
    assert whole.column("id").to_pylist() == list(range(len(rows)))
    names = operator.output_columns().probabilities
    values = np.stack([whole.column(name).to_numpy() for name in names], axis=1) if rows else np.empty((0, 7))
    alone = {row: ClassifyEmotions(model=tiny_model)(pa.table({"image": [IMAGES[row]]})) for row in range(5)}
    for position, row in enumerate(rows):
        good = isinstance(row, int)
        assert (whole.column("emotion_error")[position].as_py() is None) == good
        if good:
            assert values[position].sum() == pytest.approx(1, abs=1e-5)
            np.testing.assert_allclose(
                values[position], [alone[row].column(name)[0].as_py() for name in names], atol=1e-6
            )
            assert (
                whole.column("emotion")[position].as_py() == operator.output_columns().labels[values[position].argmax()]
            )
        else:
            assert np.isnan(values[position]).all()
            assert whole.column("emotion")[position].as_py() is None


def test_an_operator_can_be_pickled_hashed_and_compared() -> None:
    one = ClassifyEmotions("photo", model="demo", access=Access(root="pictures", allow=["s3"]))
    two = pickle.loads(pickle.dumps(one))
    assert one == two
    assert hash(one) == hash(two)
    assert {one: 1}[two] == 1
    assert one != ClassifyEmotions("photo", model="demo")


def test_the_source_is_not_read_on_after_the_reader_has_stopped(operator: ClassifyEmotions) -> None:
    pulled = 0

    def batches() -> Any:
        nonlocal pulled
        for _ in range(1000):
            pulled += 1
            yield pa.record_batch({"image": IMAGES[:1]})

    stream = operator.stream(batches())
    next(stream)
    stream.close()
    assert pulled < 60


@pytest.mark.parametrize("arrow_type", [pa.binary(), pa.large_binary()])
def test_image_cells_are_views_of_the_column_and_not_copies(arrow_type: pa.DataType) -> None:
    array = pa.array([b"before", b"", None, IMAGES[0], IMAGES[1]], arrow_type)[1:]
    chunk, data = array[1:], array.buffers()[2]
    for column, cells in ((array, [b"", None, *IMAGES[:2]]), (chunk, [None, *IMAGES[:2]])):
        cell = cell_getter(column, "image")
        assert [None if (found := cell(row)) is None else bytes(found) for row in range(len(column))] == cells
        address = np.frombuffer(cell(len(column) - 1), np.uint8).ctypes.data
        assert data.address < address < data.address + data.size
    empty = cell_getter(pa.array([None, b""], arrow_type), "image")
    assert (empty(0), bytes(empty(1))) == (None, b"")


def test_the_bytes_of_encoded_images_bound_how_far_ahead_the_source_is_read(tiny_model: str) -> None:
    pulled = 0
    big = encode(photo(0, 700, 700), "BMP")

    def batches() -> Any:
        nonlocal pulled
        for _ in range(100):
            pulled += 1
            yield pa.record_batch({"image": [big]})

    operator = ClassifyEmotions(model=tiny_model, batch_size=1, resources=Resources(threads=40, memory=8 * len(big)))
    next(operator.stream(batches()))
    assert pulled <= 9
