"""Prove that every source row has exactly its output row, and that one model and one set of options made them all."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from emotion_ops.errors import DatasetError, OptionError
from emotion_ops.lake.audit.outputs import Output, data_files, open_destination, read_output
from emotion_ops.lake.audit.proof import Check, Problem, Proof
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources
from emotion_ops.lake.targets.folder import Entry, Folder

_LINEAGE = ("model", "revision", "weights_sha256", "version")


@dataclass(frozen=True)
class VerifyReport:
    """What was proven, and what is wrong.

    Attributes:
        source: The source.
        destination: The destination.
        files: Outputs that were held against their source.
        rows: Their rows.
        errors: Those of them that failed, by code.
        dropped: Source rows that ``on_error="drop"`` left out, by the outputs' own account.
        lineage: The model, revision, weights and version that made most files.
        problems: What is wrong, of each check the first ones.
        counts: Every problem, by check.
        unproven: What cannot be proven from what stands, in words, with the number of files.
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
    """Hold a destination of ``enrich_dataset`` against its source; nothing is written.

    Every source file has its output and every output its source, with as many rows in the same order; columns
    that pass through are the source's bit for bit, schema and metadata too; probabilities are numbers from 0 to
    1 that sum to 1 within 1e-5, the label is that of the highest, and a failed row is null but for an error of a
    known code; the source is the one that the footer names; and all footers name one model, one revision, one
    set of options. Both sides are read once, in batches bounded by bytes.

    Args:
        source: As it was given to ``enrich_dataset``.
        destination: Likewise.
        max_problems: How many problems of each check are listed; all are counted.
        on_progress: Told files done and files in all.

    Returns:
        What was proven. Rows that were dropped, and outputs without any source column, limit what can be: that
        stands in ``unproven``.

    Raises:
        DatasetError: There is no such source or destination.
    """
    started = time.monotonic()
    if max_problems < 0:
        raise OptionError("max_problems", max_problems, "give a whole number of at least 0")
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    uris = [os.fspath(one) for one in sources]
    files = find_sources(uris)
    folder, name = open_destination(os.fspath(destination))
    if name is not None and len(files) > 1:
        raise DatasetError(
            folder.path(name), f"is one file, for {len(files)} sources", "give the folder that they went to"
        )
    found = _Found(max_problems)
    standing = {entry.key: entry for entry in data_files(folder, name)}
    keys = [name or file.key for file in files]
    for done, (key, file) in enumerate(zip(keys, files, strict=True), start=1):
        entry = standing.pop(key, None) or folder.entry(key)
        found.add_all(_missing(key, file) if entry is None else found.prove(file, folder, entry))
        on_progress(done, len(files))
    found.add_all(Problem(Check.WITHOUT_SOURCE, key, None, "has no source file") for key in standing)
    found.add_all(found.strangers_of_lineage())
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
    """What was found so far; of each check it keeps the first problems alone."""

    keep: int
    files: int = 0
    rows: int = 0
    dropped: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unproven: Counter[str] = field(default_factory=Counter)
    makers: dict[str, list[str]] = field(default_factory=dict)

    def add_all(self, problems: Iterator[Problem]) -> None:
        """Count problems, and list those for which there is room."""
        for problem in problems:
            self.counts[problem.check.value] += 1
            if self.counts[problem.check.value] <= self.keep:
                self.problems.append(problem)

    def prove(self, file: SourceFile, folder: Folder, entry: Entry) -> Iterator[Problem]:
        """The problems of one output."""
        try:
            output = read_output(folder, entry)
        except DatasetError as error:
            yield Problem(Check.UNREADABLE, entry.key, None, str(error))
            return
        if output is None or output.fingerprint is None:
            what = "has no emotion columns" if output is None else "has no fingerprint in its footer"
            yield Problem(Check.NOT_ENRICHED, entry.key, None, f"was not written by enrich_dataset: it {what}")
            return
        proof = Proof(file, output, output.fingerprint.parts)
        yield from proof.problems()
        self.files += 1
        self.rows += output.rows
        self.dropped += max(0, output.dropped)
        self.errors += proof.errors
        self.unproven.update(proof.unproven)
        self.makers.setdefault(_maker(output, output.fingerprint.parts), []).append(entry.key)

    def strangers_of_lineage(self) -> Iterator[Problem]:
        """Files that were made otherwise than most."""
        most, *others = sorted(self.makers, key=lambda maker: -len(self.makers[maker])) or [""]
        usual = json.loads(most or "{}")
        for other in others:
            made = json.loads(other)
            names = sorted(name for name in {*usual, *made} if usual.get(name) != made.get(name))
            what = "; ".join(f"{name} is {made.get(name)!r}, of most files {usual.get(name)!r}" for name in names)
            for key in self.makers[other]:
                yield Problem(Check.LINEAGE, key, None, what)

    def lineage(self) -> dict[str, str]:
        """What made most files."""
        most = max(self.makers, key=lambda maker: len(self.makers[maker]), default="{}")
        made = json.loads(most)
        return {name: made[name] for name in _LINEAGE if name in made}


def _maker(output: Output, parts: Mapping[str, Any]) -> str:
    """What made an output, the source aside, as JSON with sorted keys."""
    options = {name: value for name, value in parts.items() if not name.startswith("source_")}
    return json.dumps({**options, **{name: output.lineage.get(name) for name in _LINEAGE}}, sort_keys=True)
