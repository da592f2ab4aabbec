"""Prove that every source row has exactly its output row, and that one operator with one set of options made them."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from emotion_ops.errors import DatasetError
from emotion_ops.lake.audit.outputs import data_files, open_output_folder, read_output
from emotion_ops.lake.audit.proof import Check, Problem, Proof
from emotion_ops.lake.fingerprint import Fingerprint
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources
from emotion_ops.lake.targets.folder import Entry, Folder
from emotion_ops.options import whole_number

_OWN = ("finished_at", "recipe")  # parts of a lineage that say nothing about what made the file


@dataclass(frozen=True)
class VerifyReport:
    """What was proven, and what is wrong.

    Attributes:
        source: The source.
        destination: The destination.
        files: Outputs that were compared with their source.
        rows: Their rows.
        errors: Those of them that failed, by code.
        dropped: Source rows that ``on_error="drop"`` left out, by the outputs' own footers.
        lineage: What made most files: the operator, its model and revision, for example.
        problems: What is wrong, of each check the first ones.
        counts: All problems, by check.
        unproven: What cannot be proven from the files, in words, with the number of files.
        seconds: Wall time.
    """

    source: str
    destination: str
    files: int
    rows: int
    errors: Mapping[str, int]
    dropped: int
    lineage: Mapping[str, str]
    problems: tuple[Problem, ...]
    counts: Mapping[str, int]
    unproven: Mapping[str, int]
    seconds: float

    @property
    def proven(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {"proven": self.proven, **plain}


def verify_dataset(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    destination: str | os.PathLike[str],
    *,
    max_problems: int = 20,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> VerifyReport:
    """Compare a destination of ``enrich_dataset`` with its source; nothing is written.

    Every source file has its output and every output its source, with as many rows in the same order. Columns that
    pass through are those of the source bit for bit, schema and metadata too. The appended columns are what a run of
    the operator can have written: see ``TableOperator.check``; a failed row is null but for its error. The source is
    the one in the footer, and all footers name one operator, one revision and one set of options. Both sides are read
    once, in batches bounded by bytes.

    Args:
        source: As it was given to ``enrich_dataset``.
        destination: As it was given to ``enrich_dataset``.
        max_problems: How many problems of each check are listed; all are counted.
        on_progress: Called with the number of finished files, and of all files.

    Returns:
        What was proven. Rows that were dropped, outputs without a source column, and operators that are not installed
        limit what can be proven; ``unproven`` says so.

    Raises:
        DatasetError: There is no such source or destination.
        OptionError: ``max_problems`` cannot be used.
    """
    started = time.monotonic()
    found = _Found(whole_number("max_problems", max_problems, 0))
    uris = [os.fspath(one) for one in ([source] if isinstance(source, str | os.PathLike) else source)]
    files = find_sources(uris)
    folder, name = open_output_folder(os.fspath(destination))
    if name is not None and len(files) > 1:
        hint = "give the folder of the outputs"
        raise DatasetError(folder.path(name), f"is one file, for {len(files)} sources", hint)
    existing = {entry.key: entry for entry in data_files(folder, name)}
    keys = [name or file.key for file in files]
    for done, (key, file) in enumerate(zip(keys, files, strict=True), start=1):
        entry = existing.pop(key, None) or folder.entry(key)
        found.add_all(_missing(key, file) if entry is None else found.prove(file, folder, entry))
        on_progress(done, len(files))
    found.add_all(Problem(Check.WITHOUT_SOURCE, key, None, "has no source file") for key in existing)
    found.add_all(found.made_otherwise())
    return VerifyReport(
        source=", ".join(str(Folder(uri)) for uri in uris),
        destination=str(Folder(os.fspath(destination))),
        files=found.files,
        rows=found.rows,
        errors=dict(sorted(found.errors.items())),
        dropped=found.dropped,
        lineage=found.lineage(),
        problems=tuple(found.problems),
        counts=dict(sorted(found.counts.items())),
        unproven=dict(found.unproven),
        seconds=round(time.monotonic() - started, 3),
    )


def _missing(key: str, file: SourceFile) -> Iterator[Problem]:
    yield Problem(Check.MISSING_OUTPUT, key, None, f"{file.path} has no output")


@dataclass
class _Found:
    """What was found so far; only the first problems of each check are listed."""

    max_problems: int
    files: int = 0
    rows: int = 0
    dropped: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unproven: Counter[str] = field(default_factory=Counter)
    files_by_maker: dict[str, list[str]] = field(default_factory=dict)
    lineages: dict[str, dict[str, str]] = field(default_factory=dict)

    def add_all(self, problems: Iterable[Problem]) -> None:
        """Count problems, and list those for which there is room."""
        for problem in problems:
            self.counts[problem.check.value] += 1
            if self.counts[problem.check.value] <= self.max_problems:
                self.problems.append(problem)

    def prove(self, file: SourceFile, folder: Folder, entry: Entry) -> Iterator[Problem]:
        """The problems of one output."""
        try:
            output = read_output(folder, entry)
        except DatasetError as error:
            yield Problem(Check.UNREADABLE, entry.key, None, str(error))
            return
        if output is None or output.fingerprint is None:
            what = "has no appended columns" if output is None else "has no fingerprint in its footer"
            yield Problem(Check.NOT_ENRICHED, entry.key, None, f"was not written by enrich_dataset: it {what}")
            return
        proof = Proof(file, output, output.fingerprint)
        yield from proof.problems()
        self.files += 1
        self.rows += output.rows
        self.dropped += output.dropped
        self.errors += proof.errors
        self.unproven.update(proof.unproven)
        lineage = {name: value for name, value in output.lineage.items() if name not in _OWN}
        maker = _maker(output.fingerprint, lineage)
        self.files_by_maker.setdefault(maker, []).append(entry.key)
        self.lineages.setdefault(maker, lineage)

    def made_otherwise(self) -> Iterator[Problem]:
        """Files that were made by another operator, or with other options, than most."""
        usual, *others = self._makers() or [""]
        expected = json.loads(usual or "{}")
        for other in others:
            found = json.loads(other)
            names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
            what = "; ".join(f"{name} is {found.get(name)!r}, of most files {expected.get(name)!r}" for name in names)
            for key in self.files_by_maker[other]:
                yield Problem(Check.LINEAGE, key, None, what)

    def lineage(self) -> dict[str, str]:
        """What made most files."""
        return next((self.lineages[maker] for maker in self._makers()), {})

    def _makers(self) -> list[str]:
        return sorted(self.files_by_maker, key=lambda maker: -len(self.files_by_maker[maker]))


def _maker(fingerprint: Fingerprint, lineage: Mapping[str, str]) -> str:
    """What made an output, except for its source, as JSON with sorted keys."""
    parts = {name: part for name, part in fingerprint.parts.items() if not name.startswith("source_")}
    return json.dumps({**parts, **fingerprint.identity, **lineage}, sort_keys=True)
