"""Every error that this package raises, and the codes of the errors of single rows.

    EmotionOpsError
    ├── OptionError                    an option has a value that cannot be used
    ├── ColumnError                    the table does not fit the options
    │   ├── ColumnNotFoundError
    │   ├── ColumnTypeError
    │   └── ColumnExistsError
    ├── FrameTypeError                 the object is not a table
    ├── ModelError                     the model, or the detector of faces, cannot be used
    │   ├── ModelNotFoundError
    │   ├── UnsafeWeightsError
    │   └── UnsupportedModelError
    ├── DatasetError                   a source or a destination cannot be used
    │   ├── DestinationConflictError   the output was made from something else
    │   │   └── DestinationBusyError   another run is writing there
    │   ├── ErrorBudgetExceededError   more rows failed than were allowed
    │   └── GateClosedError            the output differs too much from a previous one
    ├── RowError                       one row cannot be used: a code and what happened
    │   └── RowFailedError             the same, raised with its row by ``on_error="raise"``
    ├── OperatorError                  an operator breaks the contract of ``TableOperator``
    └── MissingDependencyError         an optional package is not installed

Each message says what happened with the values, where, and what to do. Each class keeps its arguments, so that an error
can be pickled between processes.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Self


class RowErrorCode(enum.StrEnum):
    """Why a row failed: the stable word before the colon in the error column."""

    MISSING = "missing"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    UNDECODABLE = "undecodable"
    NO_FACE = "no_face"


class EmotionOpsError(Exception):
    """Root of every error that this package raises on purpose.

    Attributes:
        retryable: Whether the same call may succeed later without any change: a store or a hub did not answer,
            another run is in the way, or a file changed while it was read.
    """

    retryable = False


class OptionError(EmotionOpsError, ValueError):
    """An option has a value that cannot be used.

    Args:
        option: The option's name.
        value: The value that was given.
        hint: What to give instead.
    """

    def __init__(self, option: str, value: object, hint: str) -> None:
        super().__init__(option, value, hint)
        self.option, self.value, self.hint = option, value, hint

    def __str__(self) -> str:
        return f"{self.option}={self.value!r} cannot be used: {self.hint}"


class ColumnError(EmotionOpsError):
    """The table does not fit the options.

    Attributes:
        where: The file of a dataset in which it happened; empty for a table.
    """

    where = ""

    def at(self, where: str) -> Self:
        """The same error, in a file of a dataset."""
        error = type(self)(*self.args)
        error.where = where
        return error

    def __str__(self) -> str:
        return f"{self.where}: {self._what()}" if self.where else self._what()

    def _what(self) -> str:
        return super().__str__()


class ColumnNotFoundError(ColumnError, LookupError):
    """A column that is needed is not in the table.

    Args:
        column: The name that was asked for.
        columns: The names that the table has.
        hint: What to do.
    """

    def __init__(
        self,
        column: str,
        columns: Sequence[str],
        hint: str = "name the column that the operator reads, for example image=…",
    ) -> None:
        super().__init__(column, columns, hint)
        self.column, self.columns, self.hint = column, list(columns), hint

    def _what(self) -> str:
        have = ", ".join(repr(name) for name in self.columns) or "no columns"
        return f"no column {self.column!r} in the table (it has {have}): {self.hint}"


class ColumnTypeError(ColumnError, TypeError):
    """A column has a type that cannot be used; no image can be read from it, for example.

    Args:
        column: The column's name.
        type_name: Its type.
        hint: What it is not, and what to do; None: it does not hold images.
    """

    def __init__(self, column: str, type_name: str, hint: str | None = None) -> None:
        super().__init__(column, type_name, hint)
        self.column, self.type_name, self.hint = column, type_name, hint

    def _what(self) -> str:
        if self.hint is not None:
            return f"column {self.column!r} holds {self.type_name}, which is {self.hint}"
        return (
            f"column {self.column!r} holds {self.type_name}, not images: give a column of paths (string), "
            "of encoded images (binary), of struct<bytes, path>, of Spark's image struct, or of uint8 tensors"
        )


class ColumnExistsError(ColumnError, ValueError):
    """A column that would be appended exists.

    Args:
        columns: The names that exist.
        prefix: The prefix of the appended columns; empty if they have none that could be changed.
    """

    def __init__(self, columns: Sequence[str], prefix: str = "") -> None:
        super().__init__(columns, prefix)
        self.columns, self.prefix = list(columns), prefix

    def _what(self) -> str:
        names = ", ".join(repr(name) for name in self.columns)
        other_prefix = f", or choose another prefix than {self.prefix!r}" if self.prefix else ""
        return f"the table already has {names}: drop or rename them{other_prefix}"


class FrameTypeError(EmotionOpsError, TypeError):
    """The object is not a table that columns can be appended to.

    Args:
        type_name: The type of the object.
        hint: What to give instead.
    """

    def __init__(self, type_name: str, hint: str) -> None:
        super().__init__(type_name, hint)
        self.type_name, self.hint = type_name, hint

    def __str__(self) -> str:
        return f"a {self.type_name} is not a table that columns can be appended to: {self.hint}"


class ModelError(EmotionOpsError):
    """The model cannot be used.

    Args:
        model: The model's name or folder.
        what: What happened.
        hint: What to do.
        kind: ``model`` or ``detector`` (of faces).
        retryable: See ``EmotionOpsError``.
    """

    def __init__(self, model: str, what: str, hint: str, *, kind: str = "model", retryable: bool | None = None) -> None:
        super().__init__(model, what, hint)
        self.model, self.what, self.hint, self.kind = model, what, hint, kind
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.kind} {self.model!r}: {self.what}; {self.hint}"


class ModelNotFoundError(ModelError, LookupError):
    """No such folder, repository or revision, or no way to reach it."""


class UnsafeWeightsError(ModelError):
    """The weights are pickle files only, or the checkpoint needs its own code."""


class UnsupportedModelError(ModelError):
    """The checkpoint loads, but is not a model that this package can run."""


class DatasetError(EmotionOpsError):
    """A source or a destination cannot be used.

    Args:
        path: The file or folder.
        what: What happened.
        hint: What to do.
        retryable: See ``EmotionOpsError``.
    """

    def __init__(self, path: str, what: str, hint: str, *, retryable: bool | None = None) -> None:
        super().__init__(path, what, hint)
        self.path, self.what, self.hint = path, what, hint
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.hint}"


class DestinationConflictError(DatasetError):
    """The destination has files that were made from something else."""


class DestinationBusyError(DestinationConflictError):
    """Another run is writing into the destination, or took over while this one was suspended."""

    retryable = True


class ErrorBudgetExceededError(DatasetError):
    """More rows failed than ``max_errors`` or ``max_error_rate`` allow."""


class GateClosedError(DatasetError):
    """An output differs from a previous one by more than was allowed."""


class RowError(EmotionOpsError):
    """One row cannot be used. ``TableOperator.prepare`` raises it; the row fails and no other is affected.

    Args:
        code: The stable code of what went wrong: a ``RowErrorCode``, or one of the operator's ``own_error_codes``.
        detail: What happened, with the values.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class RowFailedError(RowError):
    """A row failed, with ``on_error="raise"``.

    Args:
        code: The stable code of what went wrong.
        detail: What happened, with the values.
        column: The input column.
        row: The row's position, from 0, in the stream or table, or in ``where``.
        where: The file and row group in which the row is counted; empty for a stream or table.
    """

    def __init__(self, code: str, detail: str, column: str, row: int, where: str = "") -> None:
        super().__init__(code, detail)
        self.args = (code, detail, column, row, where)
        self.column, self.row, self.where = column, row, where

    def __str__(self) -> str:
        where = f"{self.where}, " if self.where else ""
        return (
            f"{where}row {self.row} of column {self.column!r}: {self.code}: {self.detail}; correct the row, or give "
            'on_error="null" (keep it, with the reason in the error column) or on_error="drop" (remove it)'
        )


class OperatorError(EmotionOpsError, TypeError):
    """An operator breaks the contract of ``TableOperator``.

    Args:
        operator: The operator's name; empty if it is not known.
        what: What happened.
    """

    def __init__(self, operator: str, what: str) -> None:
        super().__init__(operator, what)
        self.operator, self.what = operator, what

    def __str__(self) -> str:
        name = f"operator {self.operator!r}" if self.operator else "an operator"
        return f"{name}: {self.what}; correct the operator (docs/your-own-operator.md)"


class MissingDependencyError(EmotionOpsError, ImportError):
    """An optional package is not installed.

    Args:
        package: The package that could not be imported.
        purpose: What needs it.
        extra: The extra of ``emotion-ops`` that brings it.
    """

    def __init__(self, package: str, purpose: str, extra: str) -> None:
        super().__init__(package, purpose, extra)
        self.package, self.purpose, self.extra = package, purpose, extra

    def __str__(self) -> str:
        return f"{self.purpose} needs the package {self.package}: pip install 'emotion-ops[{self.extra}]'"


def first_line(error: BaseException, length: int = 200) -> str:
    """The first line of an error's text, shortened for a message; its type if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:length]
