"""The contract of a table operator: a small value that turns rows into the same rows with columns appended.

    inputs of a row ──▶ prepare ──▶ item ──▶ compute ──▶ result ──▶ finish ──▶ appended columns
                        threads              whole batches           threads

An operator holds options only. It is frozen, picklable and hashable, so that it can travel to any worker. A subclass
defines ``inputs``, ``output_fields``, ``prepare`` and ``compute``; everything else has a default.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias, TypeVar

import pyarrow as pa

from emotion_ops.errors import ColumnExistsError, FrameTypeError, RowError, RowErrorCode, RowFailedError
from emotion_ops.images.decoding import Decoding
from emotion_ops.images.limits import Limits
from emotion_ops.images.meter import Meter
from emotion_ops.io.access import Access
from emotion_ops.operators import hooks, registry
from emotion_ops.operators.contract import check_fields, check_inputs, columns_from_values
from emotion_ops.operators.identity import options_as_json, options_from_json
from emotion_ops.operators.resources import Resources
from emotion_ops.operators.result_cache import shared_cache
from emotion_ops.operators.rows import Items, Row, RowBatch, row_batches, select_sequences
from emotion_ops.operators.run import Run
from emotion_ops.operators.session import BATCH_SIZE, Session
from emotion_ops.operators.stream import RowStream
from emotion_ops.operators.take_rows import check_batch, drop_failed, find_column, slices
from emotion_ops.options import Checked, one_of, option, optional, whole_number
from emotion_ops.version import __version__

OnError: TypeAlias = Literal["null", "raise", "drop"]
ArrowTable = TypeVar("ArrowTable", pa.Table, pa.RecordBatch)
T = TypeVar("T")

METADATA_KEY = b"emotion_ops"
"""Key of the lineage (JSON) in the metadata of the first appended field."""


@dataclass(frozen=True)
class TableOperator(Checked, ABC):
    """Append columns to tables.

    Args:
        on_error: ``"null"`` keeps a failed row: its appended columns are null, and the error column says why.
            ``"raise"`` stops at the first failed row with ``RowFailedError``. ``"drop"`` removes failed rows.
        batch_size: Items that are computed at the same time. ``"auto"`` suits the device. It does not change values.
        resources: Memory and threads; a number is the memory in bytes.

    Raises:
        OptionError: An option has a value that cannot be used.
    """

    version: ClassVar[int] = 1
    """Raised whenever the operator gives other values for equal options and inputs."""

    own_error_codes: ClassVar[frozenset[str]] = frozenset()
    """Codes that errors of its rows may have in addition to those of ``RowErrorCode``: single words."""

    max_rows: ClassVar[int] = 4096
    """Maximum rows in one call of ``finish``. Their results are in memory together, so large results need fewer."""

    max_parts: ClassVar[int] = 1
    """Maximum items of one row; see ``prepare``."""

    _: dataclasses.KW_ONLY
    on_error: OnError = option(one_of("null", "raise", "drop"), "null")
    batch_size: int | Literal["auto"] = option(optional(whole_number, "auto"), "auto", changes_values=False)
    resources: Resources = option(Resources.check, Resources(), changes_values=False)

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """Names of the columns that it reads, and the only ones. A dataset reads no other column for it."""

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """The inputs that hold images; they may be shown in previews and reports."""
        return ()

    @abstractmethod
    def output_fields(self) -> list[pa.Field]:
        """The appended fields, each nullable; the last is the error column (string). No network is loaded."""

    @abstractmethod
    def prepare(self, row: Row) -> Any:
        """Turn one row into an item for ``compute``, or into ``Parts``: several items, up to ``max_parts``.

        Called in several threads at the same time. ``row.image`` loads an image within the memory budget.

        Raises:
            RowError: The row cannot be used. It fails with this error, whose code is one of ``error_codes``; no other
                row is affected. Every other exception stops the stream.
        """

    @abstractmethod
    def compute(self, items: Sequence[Any]) -> Items:
        """The results of some items, one for each, in order. A result must not depend on the other items.

        A result may be a ``RowError``: its row then fails. Every exception stops the stream.
        """

    def finish(self, results: Sequence[Any]) -> Sequence[pa.Array]:
        """Turn the results of some rows into columns. Called in a thread.

        Args:
            results: For each row its result (``PartResults`` where it was prepared to ``Parts``), or the ``RowError``
                that it failed with.

        Returns:
            An array for each output field but the error column, one value for each row. By default, a result is a
            tuple of one value for each of these fields, or the value itself where there is one field.
        """
        return columns_from_values(self.name, results, self.output_fields()[:-1])

    def start(self, run: Run) -> Session:
        """Called once for each stream. An operator with a model loads it here and returns a session that uses it.

        The model should be loaded once for the process: keep it in a ``functools.lru_cache``, for example.

        Args:
            run: What the rows of the stream share: memory, threads and meter.
        """
        size = BATCH_SIZE if self.batch_size == "auto" else self.batch_size
        return Session(self.prepare, self.compute, self.finish, size, max_parts=self.max_parts)

    def pinned(self) -> Self:
        """The same operator with every name resolved to a commit or a hash, so that all workers compute the same."""
        return self

    def identity(self) -> dict[str, Any]:
        """All that changes a value, as JSON by name: fingerprints, cache keys and lineage are made of it.

        By default: the operator's registered name, its version, and each option that changes values.

        Raises:
            OptionError: An option has a value that JSON does not have.
        """
        return {"operator": self.name, "version": self.version, **options_as_json(self)}

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> Self:
        """An operator for the columns that one of this identity appended.

        It can ``check``, ``compare`` and describe them, but need not be able to compute them again. No network is
        loaded. An option that the identity lacks has its default.

        Raises:
            OptionError: An option has a value that cannot be used, or is missing and has no default.
        """
        return cls(**options_from_json(cls, identity))

    def lineage(self) -> dict[str, str]:
        """What made the columns, for people: text by name. It is stored with the first appended field."""
        return {"operator": self.name, "package_version": __version__}

    @property
    def name(self) -> str:
        """The name that it is registered by; else the module and name of its class."""
        return registry.name_of(type(self))

    @property
    def error_codes(self) -> frozenset[str]:
        """All codes that errors of its rows may have."""
        return frozenset(RowErrorCode) | self.own_error_codes

    @property
    def is_cacheable(self) -> bool:
        """Whether equal inputs have equal results, so that the process may reuse them."""
        return False

    @property
    def cached_rows(self) -> int:
        """How many results the process may remember."""
        return 0

    # What it says about its columns: hooks with defaults for any columns.

    def summary(self, columns: pa.RecordBatch) -> tuple[hooks.Measure, ...]:
        """Numbers about rows for reports, which add up over row groups.

        Args:
            columns: The appended columns of any rows.
        """
        return hooks.summarise(columns)

    def check(self, columns: pa.RecordBatch) -> Iterator[tuple[int, str]]:
        """Rows that no run can have written, each with the first thing that is wrong.

        Args:
            columns: The appended columns of any rows.
        """
        yield from hooks.check_failed(columns, self.error_codes)

    def compare(self, a: pa.RecordBatch, b: pa.RecordBatch) -> hooks.Differences:
        """How the appended columns of equal rows differ, between two outputs of such operators.

        Args:
            a: The columns of the first output.
            b: The columns of the second; its options and names may differ.
        """
        return hooks.compare_columns(a, b)

    def card(self, row: Mapping[str, Any]) -> hooks.Card:
        """How a row is drawn in previews and contact sheets.

        Args:
            row: Inputs and appended columns by name, in the order of the columns; an image input is an image cell
                (``emotion_ops.images.cells``).
        """
        return hooks.make_card(row, self.inputs, self.image_inputs)

    # What the base gives.

    def check_schema(self, schema: pa.Schema) -> None:
        """Refuse tables without an input, with an input twice, or with an input of a type that cannot be used.

        Raises:
            ColumnError: An input is missing or has a type that cannot be used.
            OptionError: Several columns have the name of an input.
        """
        for name in check_inputs(self.name, self.inputs):
            find_column(name, schema.names)

    def appended_schema(self) -> pa.Schema:
        """The appended fields. The metadata of the first one has the lineage and the names of all of them, as JSON.

        Raises:
            OperatorError: The output fields do not keep the contract.
        """
        schema = check_fields(self.name, self.output_fields())
        lineage = json.dumps({**self.lineage(), "columns": schema.names}, sort_keys=True).encode()
        first = schema.field(0)
        return schema.set(0, first.with_metadata({**(first.metadata or {}), METADATA_KEY: lineage}))

    def append_to(self, schema: pa.Schema) -> pa.Schema:
        """A schema with the fields appended; its own fields and metadata stay as they are.

        Raises:
            ColumnExistsError: A column of an appended name exists.
        """
        appended = self.appended_schema()
        clash = [name for name in appended.names if name in set(schema.names)]
        if clash:
            raise ColumnExistsError(clash, getattr(self, "prefix", ""))
        return pa.schema([*schema, *appended], metadata=schema.metadata)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of the output for tables of this schema. No row is read and no network loaded.

        Raises:
            ColumnError: As ``check_schema`` does, or an appended name exists.
        """
        self.check_schema(schema)
        return self.append_to(schema)

    def __call__(self, table: ArrowTable) -> ArrowTable:
        """Append the columns to one Arrow table or record batch.

        Args:
            table: A ``pyarrow.Table`` or ``pyarrow.RecordBatch``; chunks stay as they are.

        Returns:
            The same kind, with the schema that ``output_schema`` gives.

        Raises:
            FrameTypeError: It is neither; ``emotion_ops.append_columns`` takes other frames.
            ColumnError: As ``output_schema`` does.
            RowFailedError: A row failed, with ``on_error="raise"``.
        """
        if isinstance(table, pa.RecordBatch):
            return next(iter(self.stream([table])))
        if not isinstance(table, pa.Table):
            hint = "give a pyarrow Table or RecordBatch here, or use emotion_ops.append_columns"
            raise FrameTypeError(type(table).__name__, hint)
        schema = self.output_schema(table.schema)
        appended: pa.Table = self.append_columns(table)
        out = pa.Table.from_arrays([*table.columns, *appended.columns], schema=schema)
        return self._without_failed(out)

    def append_columns(self, inputs: pa.Table | Mapping[str, Sequence[Any]]) -> pa.Table:
        """The appended columns alone, for the input columns of a table.

        Args:
            inputs: An Arrow table, or sequences of Python objects by name, all of one length. Other columns than the
                inputs are not read.

        Returns:
            One row for each row of the inputs, also with ``on_error="drop"``: the caller has the rest of the table,
            and drops.

        Raises:
            ColumnError: As ``check_schema`` does.
            OptionError: The sequences have different lengths.
            RowFailedError: A row failed, with ``on_error="raise"``.
        """
        if isinstance(inputs, pa.Table):
            selected = self._select(inputs)
        else:
            selected = select_sequences(inputs, check_inputs(self.name, self.inputs))
        appended = [batch for _, batch in self._stream(row_batches(selected, self.max_rows))]
        return pa.Table.from_batches(appended, self.appended_schema())

    def run(
        self, inputs: Iterable[tuple[T, pa.RecordBatch]], meter: Meter | None = None, *, read_ahead: bool = False
    ) -> Iterator[tuple[T, pa.RecordBatch]]:
        """The appended columns alone, for record batches of the inputs that come one after the other.

        ``stream`` is made of it, and so is a dataset's job: while a batch is computed, rows of later batches are
        prepared.

        Args:
            inputs: Record batches of the input columns, each with what the caller knows it by.
            meter: Measures what the stages take; None measures nothing.
            read_ahead: Read the inputs in a thread, one batch ahead, so that there is work while a store is slow;
                else in the caller's thread.

        Yields:
            What the caller knows a batch by, and one row for each of its rows, also with ``on_error="drop"``; in
            order. Memory is bounded, whatever the number of batches.

        Raises:
            RowFailedError: A row failed, with ``on_error="raise"``; its number counts from the first batch.
        """
        source = (
            RowBatch.from_arrow((item, is_last), part)
            for item, batch in inputs
            for part, is_last in slices(batch, self.max_rows)
        )
        parts = list[pa.RecordBatch]()
        for (item, is_last), appended in self._stream(source, meter, read_ahead=read_ahead):
            parts.append(appended)
            if is_last:
                whole = parts[0] if len(parts) == 1 else pa.concat_batches(parts)
                parts.clear()
                yield item, whole

    def stream(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Append the columns to each record batch, while rows of later ones are prepared.

        Batches come out one for one and in order. Memory is bounded, whatever the number of batches.

        Args:
            batches: Record batches of one schema, a ``RecordBatchReader`` for example. They are read in the caller's
                thread.

        Raises:
            FrameTypeError: They are not record batches.
            ColumnError: As ``output_schema`` does, before the first row is read.
            RowFailedError: A row failed, with ``on_error="raise"``; its number counts from the first batch.
        """
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            return
        given, schema = check_batch(first).schema, self.output_schema(first.schema)  # before the model loads
        inputs = ((batch, self._select(check_batch(batch))) for batch in itertools.chain([first], batches))
        for batch, appended in self.run(inputs):
            if not batch.schema.equals(given, check_metadata=True):
                given, schema = batch.schema, self.append_to(batch.schema)
            arrays = [*batch.columns, *appended.columns]
            yield self._without_failed(pa.RecordBatch.from_arrays(arrays, schema=schema))

    def _stream(
        self, source: Iterable[RowBatch[T]], meter: Meter | None = None, *, read_ahead: bool = False
    ) -> Iterator[tuple[T, pa.RecordBatch]]:
        run, on_failure = self.new_run(meter), self._raise_row if self.on_error == "raise" else None
        with run.meter.time("load"):
            session = self.start(run)
            cache = shared_cache(type(self), self.identity, self.cached_rows) if self.is_cacheable else None
        schema = self.appended_schema()
        stream = RowStream[T](session, run, self.name, schema, cache, on_failure, self.error_codes)
        return stream.run(source, read_ahead=read_ahead)

    def new_run(self, meter: Meter | None = None) -> Run:
        """The context of a new stream."""
        return Run(self.resources, Access(), Limits(), Decoding(), meter)

    def _select(self, table: ArrowTable) -> ArrowTable:
        """The input columns of a table."""
        self.check_schema(table.schema)
        return table.select([find_column(name, table.schema.names) for name in self.inputs])

    def _without_failed(self, table: ArrowTable) -> ArrowTable:
        return drop_failed(table) if self.on_error == "drop" else table

    def _raise_row(self, row: int, error: RowError) -> None:
        raise RowFailedError(error.code, error.detail, ", ".join(self.inputs), row) from None
