"""Full disks, missing permissions, truncated and changing files: a clear error, nothing wrong published, and a rerun succeeds."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kills import leftovers
from pictures import jpeg

from emotion_ops import ClassifyEmotions, DatasetError, EnrichReport, Resources, enrich_dataset
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.reports.report import Progress

IMAGES = [jpeg(seed, 40, 40) for seed in range(8)]
UNPRIVILEGED = 65534
PRELOADED = [
    "emotion_ops.lake.enrich",
    "emotion_ops.models.engines.torch_engine",
    "transformers.models.vit.modeling_vit",
]


def table(first: int = 0, rows: int = 4) -> pa.Table:
    images = [IMAGES[number % 8] for number in range(first, first + rows)]
    return pa.table({"id": pa.array(range(first, first + rows), pa.int64()), "image": pa.array(images, pa.binary())})


def write(path: Path, content: pa.Table | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table() if content is None else content, path, **{"row_group_size": 2, **options})
    return path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest's folders are for its user only."""
    folder = Path(tempfile.mkdtemp(prefix="emotion-ops-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model, batch_size=2, resources=Resources(threads=2))


@pytest.fixture(scope="module")
def isolated() -> Callable[..., Any]:
    """Call a function in another process, which may give up its permissions; returns its result or raises its error."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, __name__])

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *arguments).result(timeout=60)

    return call


def copy_model(model: str, folder: Path) -> str:
    """A copy of the model that every user may read."""
    copy = Path(shutil.copytree(model, folder / "model"))
    for path in copy.iterdir():
        path.chmod(0o644)
    copy.chmod(0o755)
    return str(copy)


def drop_privileges() -> None:
    """Permission bits do not apply to root."""
    if os.getuid() == 0:
        os.setgid(UNPRIVILEGED)
        os.setuid(UNPRIVILEGED)


def enrich_unprivileged(source: Path, destination: Path, model: str) -> EnrichReport:
    operator = ClassifyEmotions(model=model)
    with tempfile.TemporaryDirectory() as other:  # imports all modules while they can be read
        enrich_dataset(source, other, operator)
    drop_privileges()
    return enrich_dataset(source, destination, operator)


def command_unprivileged(arguments: list[str], log: Path) -> tuple[int, str]:
    """The command line's exit code and what it wrote to stderr."""
    from emotion_ops.cli.main import run

    def command(destination: str) -> int:
        sys.argv = ["emotion-ops", "enrich", arguments[0], destination, *arguments[2:]]
        with pytest.raises(SystemExit) as ended:
            run()
        return int(ended.value.code or 0)

    assert command(str(log.parent / "imports")) == 0  # imports all modules while they can be read
    drop_privileges()
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    code = command(arguments[1])
    return code, log.read_text()


def enrich_with_limited_file_size(source: Path, destination: Path, operator: ClassifyEmotions) -> EnrichReport:
    """Files may have at most 1,500 bytes; a journal entry or an output has more."""
    operator.append_columns({operator.image: []})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
    return enrich_dataset(source, destination, operator)


def assert_right(source: Path, destination: Path, operator: ClassifyEmotions) -> None:
    """Every file of the source has its output, with the results of its own rows, and there are no other files."""
    keys = {path.relative_to(source) for path in source.rglob("*.parquet")}
    assert {path.relative_to(destination) for path in destination.rglob("*.parquet")} == keys
    for key in keys:
        ours = pq.ParquetFile(destination / key).read()
        right = operator(pq.ParquetFile(source / key).read())
        exact = [name for name in right.column_names if not pa.types.is_floating(right.schema.field(name).type)]
        assert ours.select(exact).equals(right.select(exact))
        for name in operator.output_columns().probabilities:
            assert ours.column(name).to_pylist() == pytest.approx(right.column(name).to_pylist(), abs=1e-6)
    assert not [key for key in leftovers(destination) if not key.endswith(".parquet")]


# Disk space and permissions


@pytest.mark.slow
def test_a_limit_on_file_sizes_is_an_error_with_a_hint_and_the_next_run_continues(
    isolated: Callable[..., Any], operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for number in range(2):
        write(tmp_path / "source" / f"{number}.parquet")
    with pytest.raises(DatasetError, match=r"cannot be written .*run again: finished row groups are kept"):
        isolated(enrich_with_limited_file_size, tmp_path / "source", tmp_path / "out", operator)
    assert not list((tmp_path / "out").rglob("*.parquet"))
    assert not list((tmp_path / "out").rglob("*.tmp"))
    enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert_right(tmp_path / "source", tmp_path / "out", operator)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB; the test before this one needs no permission to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount: {mounted.stderr.decode()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_on_a_full_disk_complete_files_stay_and_with_more_space_the_job_finishes(
    small_disk: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for number in range(8):
        noise = pa.array([random.Random(number).randbytes(10_000) for _ in range(4)])
        write(tmp_path / "source" / f"{number}.parquet", table(number).append_column("noise", noise))
    out = small_disk / "out"
    with pytest.raises(DatasetError, match=r"cannot be written .*No space left"):
        enrich_dataset(tmp_path / "source", out, operator)
    whole = sorted(out.glob("*.parquet"))
    assert 0 < len(whole) < 8
    assert all(pq.read_table(path).num_rows == 4 for path in whole)
    assert not list(out.rglob("*.tmp"))
    with pytest.raises(DatasetError, match="No space left"):
        enrich_dataset(tmp_path / "source", out, operator)
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    assert enrich_dataset(tmp_path / "source", out, operator).skipped >= len(whole)
    assert_right(tmp_path / "source", out, operator)


def test_a_read_only_disk_is_an_error_and_nothing_is_skipped_once_it_is_writable(
    small_disk: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    write(tmp_path / "source" / "a.parquet")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(DatasetError, match=r"cannot be written .*Read-only file system"):
        enrich_dataset(tmp_path / "source", small_disk / "out", operator)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert enrich_dataset(tmp_path / "source", small_disk / "out", operator).files == 1


@pytest.mark.slow
def test_a_destination_without_write_permission_is_exit_code_5_and_works_with_it(
    isolated: Callable[..., Any], open_folder: Path, tiny_model: str
) -> None:
    write(open_folder / "source" / "a.parquet")
    model = copy_model(tiny_model, open_folder)
    arguments = [str(open_folder / "source"), str(open_folder / "out"), "--model", model]
    (open_folder / "log").mkdir()
    (open_folder / "log").chmod(0o777)
    code, output = isolated(command_unprivileged, arguments, open_folder / "log" / "first")
    assert (code, "Traceback" in output) == (5, False)
    assert f"{open_folder}/out: cannot be written" in output
    assert "Permission denied" in output
    assert "correct its permissions" in output
    open_folder.chmod(0o777)
    code, output = isolated(command_unprivileged, arguments, open_folder / "log" / "second")
    assert code == 0, output


def test_a_partition_without_write_permission_does_not_affect_others(
    isolated: Callable[..., Any], open_folder: Path, tiny_model: str
) -> None:
    for part in ("p=1", "p=2"):
        write(open_folder / "source" / part / "a.parquet")
    model = copy_model(tiny_model, open_folder)
    (open_folder / "out" / "p=2").mkdir(parents=True)
    (open_folder / "out").chmod(0o777)
    (open_folder / "out" / "p=2").chmod(0o555)
    with pytest.raises(DatasetError, match=r"cannot be written .*p=2"):
        isolated(enrich_unprivileged, open_folder / "source", open_folder / "out", model)
    assert [path.parent.name for path in open_folder.glob("out/*/*.parquet")] == ["p=1"]
    (open_folder / "out" / "p=2").chmod(0o777)
    report = isolated(enrich_unprivileged, open_folder / "source", open_folder / "out", model)
    assert (report.skipped, report.files, report.rows_from_journal) == (1, 1, 4)
    assert_right(open_folder / "source", open_folder / "out", ClassifyEmotions(model=model))


@pytest.mark.parametrize(("closed", "words"), [("a.parquet", "cannot be opened"), ("", "cannot be listed")])
def test_a_source_without_read_permission_is_named(
    closed: str, words: str, isolated: Callable[..., Any], open_folder: Path, tiny_model: str
) -> None:
    write(open_folder / "source" / "p=1" / "a.parquet")
    model = copy_model(tiny_model, open_folder)
    open_folder.chmod(0o777)
    path = open_folder / "source" / "p=1" / closed
    path.chmod(0o000)
    with pytest.raises(DatasetError, match=rf"/source.*{words} .*Permission denied.*check"):
        isolated(enrich_unprivileged, open_folder / "source", open_folder / "out", model)
    assert not (open_folder / "out").exists()
    path.chmod(0o755)
    assert isolated(enrich_unprivileged, open_folder / "source", open_folder / "out", model).files == 1


# Sources that change


def _appended(path: Path) -> None:
    write(path, table(0, 6))


def _rewritten_in_place(path: Path) -> None:
    data = bytearray(path.read_bytes())
    other = write(path.with_suffix(".tmp"), pa.concat_tables([table(2, 2), table(0, 2)]))
    data[: other.stat().st_size] = other.read_bytes()
    path.write_bytes(bytes(data[: other.stat().st_size]))
    other.unlink()


def _replaced_with_its_time(path: Path) -> None:
    times = path.stat()
    other = write(path.with_suffix(".tmp"), pa.concat_tables([table(2, 2), table(0, 2)]))
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("change", [_appended, _rewritten_in_place, _replaced_with_its_time, _truncated, Path.unlink])
def test_a_source_that_changes_during_the_run_is_not_published_and_the_rerun_computes_it_again(
    change: Callable[[Path], None], operator: ClassifyEmotions, tmp_path: Path
) -> None:
    path = write(tmp_path / "source" / "a.parquet")
    write(tmp_path / "source" / "b.parquet", table(4))
    before, changed = path.read_bytes(), False

    def first_row_group(_: Progress) -> None:
        nonlocal changed
        if not changed:
            changed = True
            change(path)

    with pytest.raises(DatasetError, match=r"a\.parquet.*(changed while it was read|cannot be read).*run again"):
        enrich_dataset(tmp_path / "source", tmp_path / "out", operator, on_progress=first_row_group)
    assert not (tmp_path / "out" / "a.parquet").exists()
    if not path.exists() or change is _truncated:
        path.write_bytes(before)
    enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert_right(tmp_path / "source", tmp_path / "out", operator)


def test_a_source_that_is_replaced_and_restored_leaves_no_foreign_results_in_the_journal(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    """The fingerprint of the planned file matches again afterwards, so its journal must have its own results."""
    path = write(tmp_path / "source" / "a.parquet", table(0, 8))
    other = write(tmp_path / "other.parquet", table(1, 8))
    original = tmp_path / "original.parquet"

    def swap(_: Progress) -> None:
        if not original.exists():
            path.rename(original)
            other.rename(path)

    with pytest.raises(DatasetError, match="changed while it was read"):
        enrich_dataset(tmp_path / "source", tmp_path / "out", operator, on_progress=swap)
    original.rename(path)
    enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert_right(tmp_path / "source", tmp_path / "out", operator)


def test_a_change_within_the_same_tick_of_the_clock_is_detected(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    for number in range(20):
        (tmp_path / "a").write_bytes(b"%02d" % number)
        stamp = folder.stamp("a")
        (tmp_path / "a").write_bytes(b"%02d" % (number + 1))
        assert folder.stamp("a") != stamp


# Damaged files


def flip_bit(path: Path, row_group: int, part: float) -> bytes:
    """The file with one bit flipped, at this part of the images of a row group."""
    column = pq.read_metadata(path).row_group(row_group).column(1)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start + int(column.total_compressed_size * part)] ^= 0x10
    return bytes(data)


def test_a_truncated_file_is_found_before_any_work(operator: ClassifyEmotions, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.parquet").read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little")
    truncated = tmp_path / "source" / "p=1" / "a.parquet"
    write(tmp_path / "source" / "p=2" / "a.parquet")
    truncated.parent.mkdir()
    for size in (0, 4, 11, 12, 400, len(whole) - footer - 8, len(whole) - footer // 2, len(whole) - 8, len(whole) - 1):
        truncated.write_bytes(whole[:size])
        with pytest.raises(
            DatasetError, match=r"p=1/a.parquet: is not a complete Parquet file .*repair it or move it away"
        ):
            enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert not (tmp_path / "out").exists()
    truncated.write_bytes(whole)
    enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert_right(tmp_path / "source", tmp_path / "out", operator)


def test_a_corrupt_page_with_a_checksum_stops_the_job_and_other_row_groups_stay(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    path = write(tmp_path / "source" / "a.parquet", table(0, 8), compression="none", write_page_checksum=True)
    whole = path.read_bytes()
    for part in (0.1, 0.4):
        path.write_bytes(flip_bit(path, 2, part))
        with pytest.raises(
            DatasetError, match=r"a.parquet, row group 2: cannot be read .*repair the file and run again"
        ):
            enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
        path.write_bytes(whole)
        assert not (tmp_path / "out" / "a.parquet").exists()
    path.write_bytes(whole)
    enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert_right(tmp_path / "source", tmp_path / "out", operator)


def test_outputs_have_page_checksums(operator: ClassifyEmotions, tmp_path: Path) -> None:
    write(tmp_path / "source" / "a.parquet")
    enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    out = tmp_path / "out" / "a.parquet"
    out.write_bytes(flip_bit(out, 0, 0.2))
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(out, page_checksum_verification=True).read()


@pytest.mark.slow
def test_flipped_bits_in_the_data_do_not_crash_the_process(operator: ClassifyEmotions, tmp_path: Path) -> None:
    """Without checksums a flipped bit may go unnoticed; the job must end with rows or with a DatasetError."""
    path = write(tmp_path / "source" / "a.parquet", table(0, 8))
    whole = path.read_bytes()
    data = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    rng = random.Random(1)
    for number in range(40):
        flipped = bytearray(whole)
        for _ in range(3):
            flipped[rng.randrange(4, data)] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with contextlib.suppress(DatasetError):
            assert enrich_dataset(tmp_path / "source", tmp_path / f"out-{number}", operator).rows == 8


# Unusual files


def test_all_forms_of_empty_files_are_enriched(operator: ClassifyEmotions, tmp_path: Path) -> None:
    write(tmp_path / "source" / "no-group.parquet", table(0, 0))
    with pq.ParquetWriter(tmp_path / "source" / "empty-group.parquet", table().schema) as writer:
        writer.write_table(table(0, 0))
    with pq.ParquetWriter(tmp_path / "source" / "between.parquet", table().schema) as writer:
        for rows in (0, 3, 0, 1, 0):
            writer.write_table(table(0, rows))
    assert pq.read_metadata(tmp_path / "source" / "between.parquet").num_row_groups == 5
    for columns in ("all", "-image", "none"):
        assert enrich_dataset(tmp_path / "source", tmp_path / columns, operator, columns=columns).rows == 4
        assert enrich_dataset(tmp_path / "source", tmp_path / columns, operator, columns=columns).skipped == 3
    assert_right(tmp_path / "source", tmp_path / "all", operator)


def test_row_groups_of_one_row_and_structs_and_names_with_dots_are_enriched(tiny_model: str, tmp_path: Path) -> None:
    image = pa.StructArray.from_arrays([pa.array(IMAGES), pa.nulls(8, pa.string())], ["bytes", "path"])
    columns = {"pic.meta": ["x"] * 8, "pic": image, "a": pa.array([{"b": 1}] * 8), "a.b": pa.array(IMAGES)}
    write(tmp_path / "source" / "a.parquet", pa.table(columns), row_group_size=1)
    for name in ("pic", "a.b"):
        operator = ClassifyEmotions(name, model=tiny_model)
        assert enrich_dataset(tmp_path / "source", tmp_path / name, operator).good_rows == 8
        assert_right(tmp_path / "source", tmp_path / name, operator)
        enrich_dataset(tmp_path / "source", tmp_path / f"-{name}", operator, columns=f"-{name}")
        names = pq.read_schema(tmp_path / f"-{name}" / "a.parquet").names[:3]
        assert names == [other for other in columns if other != name]


def test_two_columns_of_one_name_both_pass_through(operator: ClassifyEmotions, tmp_path: Path) -> None:
    same_names = pa.Table.from_arrays(
        [pa.array([1, 2]), pa.array(["x", "y"]), pa.array(IMAGES[:2])], ["id", "id", "image"]
    )
    write(tmp_path / "source" / "a.parquet", same_names)
    enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    out = pq.ParquetFile(tmp_path / "out" / "a.parquet").read()
    assert out.schema.names[:3] == ["id", "id", "image"]
    assert [column.to_pylist() for column in out.columns[:2]] == [[1, 2], ["x", "y"]]


def test_file_names_with_any_characters_are_enriched(operator: ClassifyEmotions, tmp_path: Path) -> None:
    names = ["a b", "100%", "a%20b", "né日本", "[x]*?", "#h", "a'b\"c", "n\nl", "back\\slash", "a:b", "-x", "x" * 240]
    for name in names:
        write(tmp_path / "source" / f"k={name[:9]}" / f"{name}.parquet", table(0, 1))
    assert enrich_dataset(tmp_path / "source", tmp_path / "out", operator).files == len(names)
    assert_right(tmp_path / "source", tmp_path / "out", operator)
    assert enrich_dataset(tmp_path / "source", tmp_path / "out", operator).skipped == len(names)


def test_a_name_that_is_not_utf8_is_an_error(operator: ClassifyEmotions, tmp_path: Path) -> None:
    write(tmp_path / "source" / "a.parquet")
    (tmp_path / "source" / os.fsdecode(b"\xff.parquet")).touch()
    with pytest.raises(DatasetError, match=r"source: cannot be listed .*names are UTF-8"):
        enrich_dataset(tmp_path / "source", tmp_path / "out", operator)


def test_symbolic_links_are_followed_and_loops_are_refused(operator: ClassifyEmotions, tmp_path: Path) -> None:
    write(tmp_path / "real" / "p=1" / "a.parquet")
    (tmp_path / "source" / "p=2").mkdir(parents=True)
    (tmp_path / "source" / "p=1").symlink_to(tmp_path / "real" / "p=1")
    (tmp_path / "source" / "p=2" / "a.parquet").symlink_to(tmp_path / "real" / "p=1" / "a.parquet")
    (tmp_path / "source" / "p=2" / "dangling.parquet").symlink_to(tmp_path / "nowhere")
    assert enrich_dataset(tmp_path / "source", tmp_path / "out", operator).files == 2
    (tmp_path / "mirror").symlink_to(tmp_path / "source")
    with pytest.raises(DatasetError, match="is both source and destination"):
        enrich_dataset(tmp_path / "source", tmp_path / "mirror", operator)
    (tmp_path / "source" / "p=2" / "again").symlink_to(tmp_path / "source")
    with pytest.raises(DatasetError, match=r"p=2/again: is a symbolic link to a folder above itself; remove it"):
        enrich_dataset(tmp_path / "source", tmp_path / "out", operator)


def test_a_destination_that_is_a_file_is_an_error_and_an_existing_folder_may_have_any_name(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    write(tmp_path / "source" / "a.parquet")
    (tmp_path / "file").write_text("mine")
    for destination in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DatasetError, match="Not a directory"):
            enrich_dataset(tmp_path / "source", destination, operator)
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "as-spark-names-it.parquet").mkdir()
    enrich_dataset(tmp_path / "source", tmp_path / "as-spark-names-it.parquet", operator)
    assert_right(tmp_path / "source", tmp_path / "as-spark-names-it.parquet", operator)


@pytest.mark.slow
def test_a_thousand_tiny_files_are_enriched_once_each_and_then_skipped(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for number in range(1000):
        write(tmp_path / "source" / f"k={number % 10}" / f"{number}.parquet", table(number % 8, 1))
    report = enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert (report.files, report.good_rows) == (1000, 1000)
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 1000
    assert not leftovers(tmp_path / "out") or all(key.endswith(".parquet") for key in leftovers(tmp_path / "out"))
    again = enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert (again.files, again.skipped) == (0, 1000)
