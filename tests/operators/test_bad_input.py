"""Bad input fails its own row, or is refused with one clear error before any work."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from bad_images import BAD_BYTES
from pictures import encode, jpeg, photo
from PIL import Image

import emotion_ops
from emotion_ops import (
    Access,
    ClassifyEmotions,
    ColumnExistsError,
    ColumnNotFoundError,
    ColumnTypeError,
    Decoding,
    EmotionOpsError,
    FrameTypeError,
    Limits,
    ModelNotFoundError,
    OptionError,
    Resources,
    RowErrorCode,
    RowFailedError,
    classify_emotions,
)
from emotion_ops.operators import stream


def assert_good_rows_have_their_own_numbers(out: pa.Table, good: dict[int, bytes], model: str) -> None:
    alone = ClassifyEmotions(model=model)(pa.table({"image": list(good.values())}))
    for column in alone.column_names[1:]:
        if pa.types.is_floating(out.schema.field(column).type):
            np.testing.assert_allclose(
                out.column(column).take(list(good)).to_numpy(), alone.column(column).to_numpy(), atol=1e-6
            )
        else:
            assert out.column(column).take(list(good)).to_pylist() == alone.column(column).to_pylist()


def test_a_broken_image_fails_its_own_row_only(tiny_model: str) -> None:
    cells: list[bytes | None] = []
    good: dict[int, bytes] = {}
    codes: dict[int, str] = {}
    for seed, (cell, code) in enumerate(BAD_BYTES.values()):
        codes[len(cells)] = code
        cells.append(cell)
        good[len(cells)] = jpeg(seed)
        cells.append(good[len(cells)])
    out = ClassifyEmotions(model=tiny_model, batch_size=4)(pa.table({"image": pa.array(cells, pa.binary())}))
    errors = out.column("emotion_error").to_pylist()
    assert {row: errors[row].partition(":")[0] for row in codes} == codes
    for row in codes:
        assert [out.column(name)[row].as_py() for name in out.column_names[1:-1]] == [None] * 8
    assert_good_rows_have_their_own_numbers(out, good, tiny_model)


def test_a_path_that_cannot_be_read_fails_its_own_row_only(tiny_model: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder.jpg").mkdir(parents=True)
    (root / "good.jpg").write_bytes(jpeg(1))
    (tmp_path / "outside.jpg").write_bytes(jpeg(2))
    (root / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    paths = {
        "good.jpg": None,
        "gone.jpg": "not_found",
        "folder.jpg": "unreadable",
        "../outside.jpg": "forbidden",
        str(tmp_path / "outside.jpg"): "forbidden",
        "link.jpg": "forbidden",
        "s3://bucket/picture.jpg": "forbidden",
        "https://example.org/picture.jpg": "forbidden",
        str(root / "good.jpg"): None,
    }
    out = ClassifyEmotions(model=tiny_model, access=Access(root=root))(pa.table({"image": list(paths)}))
    codes = [error and error.partition(":")[0] for error in out.column("emotion_error").to_pylist()]
    assert codes == list(paths.values())
    assert_good_rows_have_their_own_numbers(out, {0: jpeg(1), 8: jpeg(1)}, tiny_model)


def test_an_image_beyond_a_limit_fails_and_the_caller_can_raise_the_limit(tiny_model: str) -> None:
    table = pa.table({"image": [jpeg(0, 100, 100), encode(Image.new("1", (1, 1)))]})
    for limits in (Limits(max_pixels=9_999), Limits(max_bytes=500)):
        errors = ClassifyEmotions(model=tiny_model, limits=limits)(table).column("emotion_error").to_pylist()
        assert errors[0].startswith("too_large: ")
        assert errors[1] is None
    huge = pa.table(
        {"image": [encode(Image.new("1", (20_000, 9_500)))]}
    )  # past the 179 megapixels of Pillow's own limit
    assert (
        ClassifyEmotions(model=tiny_model, limits=Limits(max_pixels=200_000_000))(huge)
        .column("emotion_error")
        .null_count
        == 1
    )
    assert ClassifyEmotions(model=tiny_model)(huge).column("emotion_error").null_count == 0


def test_on_error_raise_names_the_row_the_column_and_what_to_do(tiny_model: str) -> None:
    table = pa.table({"photo": [jpeg(0), jpeg(1), b"text", jpeg(3)]})
    with pytest.raises(RowFailedError, match=r"row 2 of column 'photo': unsupported: .*on_error=\"null\"") as caught:
        ClassifyEmotions("photo", model=tiny_model, on_error="raise")(table)
    assert (caught.value.row, caught.value.column, caught.value.code) == (2, "photo", RowErrorCode.UNSUPPORTED)


def test_on_error_raise_stops_at_the_failed_row_and_does_not_read_the_whole_source(tiny_model: str) -> None:
    pulled = 0

    def batches() -> Any:
        nonlocal pulled
        for seed in range(200):
            pulled += 1
            yield pa.record_batch({"image": [b"text" if seed == 3 else jpeg(seed % 4, 40, 40)] * 10})

    with pytest.raises(RowFailedError) as caught:
        list(ClassifyEmotions(model=tiny_model, on_error="raise", batch_size=8).stream(batches()))
    assert caught.value.row == 30
    assert pulled < 20


def test_on_error_drop_removes_the_failed_rows_only(tiny_model: str) -> None:
    table = pa.table({"id": [1, 2, 3, 4], "image": [jpeg(0), None, b"text", jpeg(3)]})
    out = ClassifyEmotions(model=tiny_model, on_error="drop")(table)
    assert out.column("id").to_pylist() == [1, 4]
    assert out.column("emotion_error").null_count == 2
    assert_good_rows_have_their_own_numbers(out, {0: jpeg(0), 1: jpeg(3)}, tiny_model)


def test_a_table_that_does_not_fit_is_refused_before_any_work(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_work(*_: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr(stream, "ThreadPoolExecutor", no_work)
    images = [jpeg()]
    tensor = pa.fixed_shape_tensor(pa.uint8(), (3, 8, 8))
    pixels = pa.ExtensionArray.from_storage(tensor, pa.array([[0] * 192], tensor.storage_type))
    cases: list[tuple[pa.Table, type[EmotionOpsError], str]] = [
        (pa.table({"photo": images}), ColumnNotFoundError, "no column 'image' in the table (it has 'photo')"),
        (pa.table({"image": [1, 2]}), ColumnTypeError, "column 'image' holds int64"),
        (pa.table({"image": [[1.0]]}), ColumnTypeError, "list<"),
        (pa.table({"image": pixels}), ColumnTypeError, "tensors of uint8 and shape (3, 8, 8)"),
        (pa.table({"image": pa.array([{"bytes": 1}])}), ColumnTypeError, "int64"),
        (pa.table({"image": images, "emotion_sad": [0.5]}), ColumnExistsError, "already has 'emotion_sad'"),
    ]
    for table, error, words in cases:
        operator = ClassifyEmotions(model=tiny_model)
        for attempt in (
            lambda operator=operator, table=table: operator(table),
            lambda operator=operator, table=table: list(operator.stream(table.to_batches())),
            lambda operator=operator, table=table: operator.output_schema(table.schema),
        ):
            with pytest.raises(error) as caught:
                attempt()
            assert words in str(caught.value)


def test_a_model_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        ClassifyEmotions(model=str(tmp_path / "nowhere"))(pa.table({"image": [jpeg()]}))
    assert "nowhere" in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [("batch_size", 0), ("batch_size", 2.5), ("batch_size", True), ("on_error", "ignore"), ("precision", "fp64"),
     ("engine", "tensorflow"), ("prefix", ""), ("model", None), ("device", 0), ("revision", 5)],
)  # fmt: skip
def test_an_option_that_cannot_be_used_is_refused_at_once_with_a_hint(option: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"^{option}=.* cannot be used: give ") as caught:
        ClassifyEmotions(**{option: value})
    assert caught.value.option == option


@pytest.mark.parametrize(
    ("group", "option", "value"),
    [(Resources, "threads", -1), (Resources, "memory", "1 furlong"), (Decoding, "channels", "RGB"), (Limits, "max_pixels", 0),
     (Access, "allow", None), (Access, "allow", 5), (Access, "allow_hosts", [1]), (Access, "root", 5),
     (Access, "root", "")],
)  # fmt: skip
def test_an_option_of_a_group_that_cannot_be_used_is_refused_with_the_groups_name(
    group: Any, option: str, value: object
) -> None:
    with pytest.raises(OptionError, match=rf"^{group.__name__}\.{option}=.* cannot be used: give "):
        group(**{option: value})


def test_whole_numbers_of_numpy_are_accepted() -> None:
    operator = ClassifyEmotions(model="demo", batch_size=np.int64(4), resources=Resources(threads=np.int32(2)))  # type: ignore[arg-type]
    assert operator == ClassifyEmotions(model="demo", batch_size=4, resources=Resources(threads=2))
    assert (type(operator.batch_size), type(operator.resources.threads)) == (int, int)


def test_a_device_that_does_not_exist_is_refused(tiny_model: str) -> None:
    import torch

    missing = "cuda:7" if torch.cuda.device_count() < 8 else "nonsense"
    with pytest.raises(OptionError, match="device='cuda:7' cannot be used"):
        ClassifyEmotions(model=tiny_model, device=missing)(pa.table({"image": [jpeg()]}))


def test_an_object_that_is_not_a_table_is_refused_with_what_to_give() -> None:
    with pytest.raises(FrameTypeError, match="a list is not a table"):
        classify_emotions([1, 2, 3], model="demo")
    with pytest.raises(FrameTypeError, match="give a pyarrow Table"):
        ClassifyEmotions(model="demo")("faces.parquet")
    for column in (pa.chunked_array([["a.jpg"]]), pl.Series(["a.jpg"])):
        with pytest.raises(FrameTypeError, match="put a single column into a table"):
            classify_emotions(column, model="demo")
    for batches in (pa.table({"image": ["a.jpg"]}), [pa.table({"image": ["a.jpg"]})]):
        with pytest.raises(FrameTypeError, match=r"give record batches here, for example table.to_batches\(\)"):
            next(iter(ClassifyEmotions(model="demo").stream(batches)))  # type: ignore[arg-type]


def test_pixels_whose_meaning_is_not_known_fail_their_row(tiny_model: str) -> None:
    import pandas as pd

    cells = [np.zeros((4, 4, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((0, 3, 2), np.uint8), 12.5, photo(1)]
    out = classify_emotions(pd.DataFrame({"image": pd.Series(cells, dtype=object)}), model=tiny_model)
    assert [str(error).partition(":")[0] for error in out["emotion_error"]] == ["unsupported"] * 4 + ["nan"]


def test_a_probability_that_is_not_a_number_stops_the_run_and_is_not_written(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from emotion_ops.testing import save_tiny_model

    folder = save_tiny_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(emotion_ops.ModelError, match="not a number"):
        ClassifyEmotions(model=str(folder))(pa.table({"image": [jpeg()]}))


def test_every_error_can_be_pickled() -> None:
    from emotion_ops import errors

    examples = [
        errors.OptionError("a", 1, "c"),
        errors.ColumnNotFoundError("a", ["b"]),
        errors.ColumnTypeError("a", "int64"),
        errors.ColumnTypeError("a", "int64").at("a.parquet"),
        errors.ColumnExistsError(["a"], "p"),
        errors.FrameTypeError("list", "c"),
        errors.ModelNotFoundError("m", "w", "c"),
        errors.UnsafeWeightsError("m", "w", "c"),
        errors.UnsupportedModelError("m", "w", "c"),
        errors.DatasetError("p", "w", "c"),
        errors.DestinationConflictError("p", "w", "c"),
        errors.ErrorBudgetExceededError("p", "w", "c"),
        errors.RowError(RowErrorCode.MISSING, "d"),
        errors.RowFailedError(RowErrorCode.MISSING, "d", "image", 3),
        errors.RowFailedError(RowErrorCode.MISSING, "d", "image", 3, "a.parquet, row group 2"),
        errors.MissingDependencyError("ray", "p", "ray"),
    ]
    for error in examples:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
