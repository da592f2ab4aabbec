"""Kill a job at every step that writes and at random times, and run it again after each kill.

    python benchmarks/kills.py --random 200               # all steps
    python benchmarks/kills.py --random 3 --every 20      # a first impression

A step is the entry or the exit of a function or system call that writes: journal, output file, verification, fsync,
rename, deletion, lease, report. After each kill and rerun the output is compared with that of an undisturbed run: all
values must be equal bit for bit, probabilities within 1e-6. Row groups that were computed twice are counted: at the
kill the network had computed some of their rows, and neither the journal nor an output had them. At most three may be:
those that the batches in the network can contain.
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
from killer import WRITING
from PIL import Image

from emotion_ops.lake.journal import Journal
from emotion_ops.lake.targets.folder import METADATA_DIR, Folder, is_hidden

FILES = {"day=1/rows.parquet": (21, 6), "day=2/rows.parquet": (10, 5)}
"""The source: rows and the rows of a row group, by file."""

REPORTS = (f"{METADATA_DIR}/report", f"{METADATA_DIR}/runs/")
"""How the keys of reports begin."""

IN_FLIGHT = 4
"""Maximum of row groups in flight: the network has a batch and the next one, 8 rows, which lie in at most 3 row groups.
Threads build the columns of one more."""


class Killer:
    """The process of killer.py, which forks the jobs.

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
        """Run one job until it ends or is killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"destination": str(destination), **request}) + "\n")
        self._process.stdin.flush()
        result: dict[str, Any] = json.loads(self._process.stdout.readline())
        return result

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a kill and a rerun.

    Attributes:
        killed: Whether the job was killed; False if it ended before.
        recomputed: Number of row groups with rows that the network computed in both runs.
        wrong: Differences from an undisturbed run, and incomplete files at their final names.
        leftovers: Files that should not exist after the rerun.
    """

    killed: bool
    recomputed: int
    wrong: tuple[str, ...]
    leftovers: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """A source, the output of an undisturbed run, and the process that kills jobs."""

    source: Path
    undisturbed: Path
    killer: Killer

    def __call__(self, destination: Path, **request: Any) -> Outcome:
        """Kill a job as the request says, and run it again."""
        first = self.killer(destination, **request)
        incomplete = self.incomplete_files(destination)
        unfinished = self.unfinished(destination)
        rows, started = first["rows"], set()
        for group, good in self._groups.items():  # a run processes them in order
            if rows > 0 and good:
                started.add(group)
            rows -= good
        second = self.killer(destination)
        wrong = [*incomplete, *self.differences(destination)]
        expected = sum(self._groups[group] for group in unfinished)
        if second["rows"] != expected:
            wrong.append(f"the network computed {second['rows']} rows in the rerun instead of {expected}")
        return Outcome(first["killed"], len(started & unfinished), tuple(wrong), leftovers(destination))

    def unfinished(self, destination: Path) -> set[tuple[str, int]]:
        """Return the row groups that neither an output nor the journal has."""
        missing = set()
        for key, number in self._groups:
            home = destination / METADATA_DIR / "journal" / Journal(Folder(str(destination)), key, "", "").file_home
            journalled = {int(path.stem) for path in home.glob("*/*.arrow")}
            if number not in journalled and not (destination / key).exists():
                missing.add((key, number))
        return missing

    def incomplete_files(self, destination: Path) -> list[str]:
        """Return what is wrong with the files that a reader can find before the rerun."""
        wrong = []
        for path in destination.rglob("*.parquet"):
            key = path.relative_to(destination).as_posix()
            if is_hidden(key):
                wrong.append(f"{key} is a Parquet file in a hidden folder")
            elif pq.read_table(path).num_rows != FILES[key][0]:
                wrong.append(f"{key} is incomplete")
        return wrong

    def differences(self, destination: Path) -> list[str]:
        """Return the differences from the output of an undisturbed run."""
        wrong = []
        for key in FILES:
            if not (destination / key).exists():
                wrong.append(f"{key} is missing")
                continue
            ours, expected = (pq.read_table(folder / key) for folder in (destination, self.undisturbed))
            exact = [
                name for name in expected.column_names if not pa.types.is_floating(expected.schema.field(name).type)
            ]
            if not ours.select(exact).equals(expected.select(exact), check_metadata=True):
                wrong.append(f"{key} has other values")
            wrong += [
                f"{key} has other probabilities in {name}"
                for name in set(expected.column_names) - set(exact)
                if not np.allclose(ours[name].to_numpy(), expected[name].to_numpy(), rtol=0, atol=1e-6, equal_nan=True)
            ]
        return wrong

    @functools.cached_property
    def _groups(self) -> dict[tuple[str, int], int]:
        """Return how many rows of each row group the network computes; the row groups are in order."""
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
    """Return the files that a finished job should have deleted."""
    files = (path.relative_to(destination).as_posix() for path in destination.rglob("*") if path.is_file())
    return tuple(key for key in sorted(files) if key not in FILES and not key.startswith(REPORTS))


def write_source(folder: Path) -> Path:
    """Write two partitions, 21 rows in 4 row groups and 10 rows in 2; each has a row that fails."""
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
    """Yield a trial and the result of its undisturbed run, which has the steps and the seconds."""
    source = write_source(folder / "source")
    killer = Killer(source, model)
    try:
        whole = killer(folder / "undisturbed")
        if whole["status"]:
            raise RuntimeError(f"the undisturbed run ended with {whole['status']}")
        if missing := WRITING - {step.split()[0] for step in whole["steps"]}:
            raise RuntimeError(f"the undisturbed run has no steps {sorted(missing)}: update WRITING in killer.py")
        yield Trial(source, folder / "undisturbed", killer), whole
    finally:
        killer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="kill at every n-th step only")
    parser.add_argument("--random", type=int, default=200, help="number of kills at random times")
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, trial(Path(name), options.model) as (attempt, whole):
        rng = random.Random(0)
        out = Path(name) / "out"
        outcomes: list[tuple[dict[str, Any], Outcome]] = []
        for step in range(1, len(whole["steps"]) + 1, options.every):
            request: dict[str, Any] = {"step": step}
            outcomes.append((request, attempt(out, **request)))
            shutil.rmtree(out)
        random_kills = 0
        while random_kills < options.random:
            request = {"seconds": rng.uniform(0, whole["seconds"])}
            outcome = attempt(out, **request)
            if outcome.killed:  # else it ended before that time
                random_kills += 1
                outcomes.append((request, outcome))
            shutil.rmtree(out)
        recomputed = collections.Counter(outcome.recomputed for _, outcome in outcomes)
        bad = [(request, outcome) for request, outcome in outcomes if outcome.wrong or outcome.leftovers]
        print(
            json.dumps(
                {
                    "steps": len(whole["steps"]),
                    "kinds_of_step": len(set(whole["steps"])),
                    "random_kills": random_kills,
                    "killed": sum(outcome.killed for _, outcome in outcomes),
                    "wrong": sum(bool(outcome.wrong) for _, outcome in outcomes),
                    "leftovers": sum(bool(outcome.leftovers) for _, outcome in outcomes),
                    "row_groups_recomputed": dict(sorted(recomputed.items())),
                    "seconds": round(time.perf_counter() - started),
                }
            )
        )
    for request, outcome in bad:
        print(request, outcome, file=sys.stderr)
    sys.exit(bool(bad) or max(recomputed) > IN_FLIGHT)


if __name__ == "__main__":
    main()
