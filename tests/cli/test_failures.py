"""Failures of a job as another program sees them: memory that ran out, and what a retry may repair."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emotion_ops import ClassifyEmotions, enrich_dataset
from emotion_ops.cli.failures import describe_failure
from emotion_ops.errors import (
    DatasetError,
    DestinationBusyError,
    DestinationConflictError,
    ModelError,
    ModelNotFoundError,
)
from emotion_ops.lake.parquet import is_corrupt
from emotion_ops.testing import faces_table


def with_cause(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        with_cause(DatasetError("rows.parquet", "cannot be read", "mend the file"), pa.ArrowMemoryError("malloc of size 9")),
        with_cause(DatasetError("out", "cannot be written", "free some space"), OSError(errno.ENOMEM, "no memory")),
        with_cause(ModelError("m", "there is not enough memory on cuda", "a smaller one"), MemoryError("2 GiB")),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_recognised_in_every_library(error: Exception) -> None:
    event = describe_failure(error)
    assert event["out_of_memory"]
    assert event["retryable"]
    assert "mend the file" not in event["message"]


@pytest.mark.parametrize("retryable", [False, True])
def test_whether_an_error_is_retryable_does_not_depend_on_words_in_its_message(retryable: bool) -> None:
    given = {"retryable": True} if retryable else {}
    for error in (
        DatasetError("/data/changed", "lies in the destination /data/changed-meanwhile", "give another", **given),
        DestinationConflictError("p", "stands already: the weights changed", "overwrite", **given),
        ModelNotFoundError("changed/meanwhile", "has no revision 'x'", "give a commit", **given),
    ):
        assert describe_failure(pickle.loads(pickle.dumps(error)))["retryable"] is retryable
    assert not describe_failure(ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"))["retryable"]
    assert describe_failure(DestinationBusyError("p", "is written", "wait"))["retryable"]


def test_an_unknown_model_is_not_retryable_and_a_hub_that_does_not_answer_is() -> None:
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    from emotion_ops.models.hub import _explained

    for error in (HFValidationError("no id"), OfflineModeIsEnabled("offline")):
        assert not describe_failure(_explained("owner/name", None, error))["retryable"]
    for error in (ConnectionError("refused"), TimeoutError("timed out"), OSError(errno.ENOSPC, "full")):
        assert describe_failure(_explained("owner/name", None, error))["retryable"]


def test_a_source_that_changes_while_it_is_read_is_retryable(tiny_model: str, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(faces_table(4), path, row_group_size=2)

    def change(_: Any) -> None:
        pq.write_table(faces_table(4, seed=9), path, row_group_size=2)

    with pytest.raises(DatasetError, match="changed while it was read") as raised:
        enrich_dataset(path, tmp_path / "out", ClassifyEmotions(model=tiny_model), on_progress=change)
    assert describe_failure(raised.value)["retryable"]


def test_a_file_is_corrupt_by_what_arrow_says_and_not_by_its_name() -> None:
    assert is_corrupt(OSError("Couldn't deserialize thrift: don't know what type: 3"))
    assert is_corrupt(pa.ArrowInvalid("Parquet magic bytes not found in footer"))
    assert not is_corrupt(OSError("When reading 'Corrupt/thrift.parquet': AWS Error NETWORK_CONNECTION: timed out"))
    assert not is_corrupt(OSError(errno.EIO, "Corrupt"))
