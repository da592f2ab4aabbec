"""Kills a job at every step of its writing and at random instants, and runs it again after each kill.

    python benchmarks/kills.py --random 200

A step is the entry or exit of a function or system call that writes: journal, composing, verifying, fsync, rename,
removal, lease, report. After each kill and rerun the output is held against that of a run that nobody disturbed: all
bit for bit, but probabilities within 1e-6. What was computed twice is counted: the row groups of which rows had gone
through the network when the job died, although neither journal nor output held them. In flight are the row groups
that the batches with the network can touch, here three; any more would be work lost.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from emotion_ops.lake.journal import Journal
from emotion_ops.lake.targets.folder import HOME, Folder, is_hidden

FILES = {"day=1/rows.parquet": (21, 6), "day=2/rows.parquet": (10, 5)}
"""The source: rows and the rows of a row group, by file."""

IN_FLIGHT = 3
"""Row groups in flight here: the network's batch and the next, 8 rows, lie in 3 of them at the most."""


class Killer:
    """The process that forks the children; see killer.py.

    Args:
        source: The dataset.
        model: The model.
    """

    def __init__(self, source: Path, model: str) -> None:
        script = Path(__file__).with_name("killer.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(source), model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, destination: Path, **request: Any) -> dict[str, Any]:
        """Run one job, to its end or its death."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"destination": str(destination), **request}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)


@dataclass(frozen=True)
class Outcome:
    """What a kill and its rerun came to.

    Attributes:
        killed: Whether the job died, rather than ended before.
        again: Row groups of which rows went through the network in both runs.
        wrong: What differs from an undisturbed run, or stands half at its final name; nothing, if all is well.
        leftovers: Files that should not be there after the rerun.
    """

    killed: bool
    again: int
    wrong: tuple[str, ...]
    leftovers: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """A source, its undisturbed output, and what kills jobs over it."""

    source: Path
    undisturbed: Path
    killer: Killer

    def __call__(self, destination: Path, **request: Any) -> Outcome:
        """Kill a job as requested and run it again."""
        first = self.killer(destination, **request)
        torn = self.torn(destination)
        unfinished = self.unfinished(destination)
        rows, touched = first["rows"], set()
        for group, good in self._groups.items():  # a run goes through them in order
            if rows > 0 and good:
                touched.add(group)
            rows -= good
        second = self.killer(destination)
        wrong = [*torn, *self.differences(destination)]
        expected = sum(self._groups[group] for group in unfinished)
        if second["rows"] != expected:
            wrong.append(f"the rerun put {second['rows']} rows through the network instead of {expected}")
        return Outcome(first["killed"], len(touched & unfinished), tuple(wrong), leftovers(destination))

    def unfinished(self, destination: Path) -> set[tuple[str, int]]:
        """The row groups that neither an output nor a journal holds."""
        missing = set()
        for key, number in self._groups:
            home = destination / HOME / "journal" / Journal(Folder(str(destination)), key, "", "").file_home
            journalled = {int(path.stem) for path in home.glob("*/*.arrow")}
            if number not in journalled and not (destination / key).exists():
                missing.add((key, number))
        return missing

    def torn(self, destination: Path) -> list[str]:
        """Files at their final names that are not whole: what a reader may meet before the rerun."""
        wrong = []
        for path in destination.rglob("*.parquet"):
            key = path.relative_to(destination).as_posix()
            if is_hidden(key):
                wrong.append(f"{key} is a Parquet file in a hidden folder")
            elif pq.read_table(path).num_rows != FILES[key][0]:
                wrong.append(f"{key} is half")
        return wrong

    def differences(self, destination: Path) -> list[str]:
        """Where an output is not what an undisturbed run gives."""
        wrong = []
        for key in FILES:
            if not (destination / key).exists():
                wrong.append(f"{key} is missing")
                continue
            ours, right = (pq.read_table(folder / key) for folder in (destination, self.undisturbed))
            exact = [name for name in right.column_names if not pa.types.is_floating(right.schema.field(name).type)]
            if not ours.select(exact).equals(right.select(exact), check_metadata=True):
                wrong.append(f"{key} has other values")
            wrong += [
                f"{key} has other probabilities in {name}"
                for name in set(right.column_names) - set(exact)
                if not np.allclose(ours[name].to_numpy(), right[name].to_numpy(), rtol=0, atol=1e-6, equal_nan=True)
            ]
        return wrong

    @functools.cached_property
    def _groups(self) -> dict[tuple[str, int], int]:
        """Each row group in order, and how many of its rows go through the network."""
        groups = {}
        for key in FILES:
            errors = pq.read_table(self.undisturbed / key).column("emotion_error")
            metadata, start = pq.read_metadata(self.source / key), 0
            for number in range(metadata.num_row_groups):
                rows = metadata.row_group(number).num_rows
                groups[key, number] = errors.slice(start, rows).null_count
                start += rows
        return groups


def leftovers(destination: Path) -> tuple[str, ...]:
    """What no finished job leaves behind."""
    files = (path.relative_to(destination).as_posix() for path in destination.rglob("*") if path.is_file())
    return tuple(key for key in sorted(files) if key not in FILES and not key.startswith(f"{HOME}/report"))


def write_source(folder: Path) -> Path:
    """Two partitions: 21 rows in 4 row groups, 10 rows in 2, with failing rows in both."""
    rng = np.random.default_rng(0)
    cells: list[bytes | None] = []
    for _ in range(31):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(stream, "JPEG")
        cells.append(stream.getvalue())
    cells[3], cells[25] = b"broken", None
    table = pa.table({"id": range(31), "image": pa.array(cells, pa.binary())}).replace_schema_metadata({"owner": "x"})
    start = 0
    for key, (rows, group) in FILES.items():
        (folder / key).parent.mkdir(parents=True)
        pq.write_table(table.slice(start, rows), folder / key, row_group_size=group)
        start += rows
    return folder


@contextlib.contextmanager
def trial(folder: Path, model: str) -> Iterator[tuple[Trial, dict[str, Any]]]:
    """A trial, and what its undisturbed run told: its steps and seconds."""
    source = write_source(folder / "source")
    killer = Killer(source, model)
    try:
        whole = killer(folder / "undisturbed")
        if whole["status"]:
            raise RuntimeError(f"the undisturbed run ended with {whole['status']}")
        yield Trial(source, folder / "undisturbed", killer), whole
    finally:
        killer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=200, help="kills at random instants")
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, trial(Path(name), options.model) as (attempt, whole):
        rng = random.Random(0)
        out = Path(name) / "out"
        outcomes: list[tuple[dict[str, Any], Outcome]] = []
        for step in range(1, len(whole["steps"]) + 1):
            request: dict[str, Any] = {"step": step}
            outcomes.append((request, attempt(out, **request)))
            shutil.rmtree(out)
        instants = 0
        while instants < options.random:
            request = {"seconds": rng.uniform(0, whole["seconds"])}
            outcome = attempt(out, **request)
            if outcome.killed:  # else it had ended before that
                instants += 1
                outcomes.append((request, outcome))
            shutil.rmtree(out)
        again = collections.Counter(outcome.again for _, outcome in outcomes)
        bad = [(request, outcome) for request, outcome in outcomes if outcome.wrong or outcome.leftovers]
        print(
            json.dumps(
                {
                    "steps": len(whole["steps"]),
                    "kinds_of_step": len(set(whole["steps"])),
                    "random_instants": instants,
                    "killed": sum(outcome.killed for _, outcome in outcomes),
                    "wrong": sum(bool(outcome.wrong) for _, outcome in outcomes),
                    "leftovers": sum(bool(outcome.leftovers) for _, outcome in outcomes),
                    "row_groups_computed_again": dict(sorted(again.items())),
                    "seconds": round(time.perf_counter() - started),
                }
            )
        )
    for request, outcome in bad:
        print(request, outcome, file=sys.stderr)
    sys.exit(bool(bad) or max(again) > IN_FLIGHT)


if __name__ == "__main__":
    main()
