"""An S3 server behind a proxy that fails: nothing is lost, duplicated or mixed, with any client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kills import leftovers
from pictures import jpeg
from s3_server import Proxy, running_proxy, running_server

from emotion_ops import ClassifyEmotions, Resources
from emotion_ops.errors import DatasetError, DestinationBusyError, DestinationConflictError
from emotion_ops.lake.enrich import enrich_dataset
from emotion_ops.lake.lease import STALE_AFTER, find_leases, hold_lease, wait_for_lease
from emotion_ops.lake.targets.folder import Folder

pytestmark = pytest.mark.s3

FILES = ["day=1/rows.parquet", "day=2/rows.parquet"]
ROWS, ROW_GROUPS = 17, 5
KINDS = ["arrow", "s3fs", "fsspec"]
"""Arrow reads and writes; Arrow reads and s3fs writes; fsspec reads and writes."""


@dataclass(frozen=True)
class Lake:
    """A bucket, through the proxy with one kind of client, and directly."""

    kind: str
    bucket: str
    proxy: Proxy
    client: Any

    def uri(self, key: str = "out") -> str:
        if self.kind != "arrow":  # both clients take the address of the store from the environment
            return {"s3fs": "", "fsspec": "fsspec+"}[self.kind] + f"s3://{self.bucket}/{key}"
        return f"s3://{self.bucket}/{key}?endpoint_override=127.0.0.1:{self.proxy.port}&scheme=http&region=us-east-1"

    def listed(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def table(self, key: str) -> pa.Table:
        body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return pq.read_table(pa.BufferReader(body))

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with running_server() as port:
        yield port


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with running_proxy(server) as proxy:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        }.items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").clear_instance_cache()  # the address comes from the environment
        monkeypatch.setitem(
            fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 1, "retries": {"max_attempts": 1}}}
        )
        yield proxy


def open_lake(kind: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Lake:
    if kind == "arrow":
        monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    client = boto3.client("s3", endpoint_url="http://{}:{}".format(*proxy.target))
    bucket = f"lake-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    return Lake(kind, bucket, proxy, client)


@pytest.fixture(params=KINDS)
def lake(request: pytest.FixtureRequest, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return open_lake(request.param, proxy, monkeypatch)


@pytest.fixture(params=["s3fs", "fsspec"])
def conditional_lake(request: pytest.FixtureRequest, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A bucket whose client supports conditional uploads."""
    return open_lake(request.param, proxy, monkeypatch)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    cells: list[bytes | None] = [jpeg(seed, 40, 40) for seed in range(ROWS)]
    cells[3], cells[14] = b"broken", None
    table = pa.table({"id": range(ROWS), "image": pa.array(cells, pa.binary())})
    for file, (start, count, group) in zip(FILES, [(0, 11, 4), (11, 6, 3)], strict=True):
        (folder / file).parent.mkdir()
        pq.write_table(table.slice(start, count), folder / file, row_group_size=group)
    return folder


@pytest.fixture(scope="module")
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model, batch_size=4, resources=Resources(threads=2))


@pytest.fixture(scope="module")
def undisturbed(source: Path, operator: ClassifyEmotions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("undisturbed")
    enrich_dataset(source, destination, operator)
    return destination


def assert_as_if_undisturbed(lake: Lake, undisturbed: Path) -> None:
    """Every file is there and equal (probabilities within 1e-6), and there are no other files."""
    keys = [key for key in lake.listed() if not key.startswith("out/_emotion_ops/runs/")]
    if lake.kind == "arrow":  # each of its removals creates an empty object for the folder
        keys = [key for key in keys if not key.endswith("/")]
    assert keys == ["out/_emotion_ops/report.html", "out/_emotion_ops/report.json", *(f"out/{file}" for file in FILES)]
    assert not lake.client.list_multipart_uploads(Bucket=lake.bucket).get("Uploads")
    for file in FILES:
        assert_equal(lake.table(f"out/{file}"), pq.read_table(undisturbed / file, partitioning=None))


def assert_equal(ours: pa.Table, right: pa.Table) -> None:
    exact = [name for name in right.column_names if not pa.types.is_floating(right.schema.field(name).type)]
    assert ours.column_names == right.column_names
    assert ours.select(exact).equals(right.select(exact))
    for name in set(right.column_names) - set(exact):
        np.testing.assert_allclose(ours.column(name).to_numpy(), right.column(name).to_numpy(), atol=1e-6)


def test_a_run_gives_the_same_output_as_on_a_disk_and_a_second_run_skips_it(
    lake: Lake, source: Path, operator: ClassifyEmotions, undisturbed: Path
) -> None:
    for file in FILES:
        lake.put(f"in/{file}", (source / file).read_bytes())
    lake.put("in/day=3/", b"")  # as consoles create for a folder
    report = enrich_dataset(lake.uri("in"), lake.uri(), operator)
    assert (report.files, report.rows) == (2, ROWS)
    for key in [key for key in lake.listed() if key.startswith("in/")]:
        lake.client.delete_object(Bucket=lake.bucket, Key=key)
    assert_as_if_undisturbed(lake, undisturbed)
    for file in FILES:
        lake.put(f"in/{file}", (source / file).read_bytes())
    puts = lake.proxy.count("PUT|POST", "/day=")
    again = enrich_dataset(lake.uri("in"), lake.uri(), operator)
    assert again.skipped == 2 or lake.kind != "fsspec"  # by ETag; Arrow compares modification times
    assert again.skipped < 2 or lake.proxy.count("PUT|POST", "/day=") == puts


def test_errors_throttling_timeouts_and_cut_connections_lose_and_duplicate_nothing(
    lake: Lake, source: Path, operator: ClassifyEmotions, undisturbed: Path
) -> None:
    proxy = lake.proxy
    completing, of_upload = ("POST", ".*uploadId") if lake.kind == "arrow" else ("PUT", "")
    faults = [
        proxy.fail("error", "PUT", "/journal/", times=2),
        proxy.fail("error", "PUT", "/journal/", status=503, skip=4, times=2),
        proxy.fail("error", "GET", "/journal/", status=503, times=2),
        proxy.fail("error", "GET", "list-type", status=503, skip=1, times=2),
        proxy.fail("cut", "GET", "/journal/", skip=4),
        proxy.fail("cut", "DELETE" if lake.kind == "arrow" else "POST", "/journal/|[?&]delete"),
        proxy.fail("cut", completing, f"/leases/{of_upload}"),
        proxy.fail("late", "PUT", "/day=1/", seconds=4),  # Arrow's timeout is 3 seconds, that of s3fs here is 1
        proxy.fail("cut", completing, f"/day=2/{of_upload}"),
    ]
    report = enrich_dataset(source, lake.uri(), operator)
    assert (report.files, report.rows, report.rows_from_journal) == (2, ROWS, 0)
    assert [fault for fault in faults if fault.hits <= fault.skip] == []
    assert_as_if_undisturbed(lake, undisturbed)


def test_a_store_that_refuses_a_fifth_of_all_requests_loses_and_duplicates_nothing(
    lake: Lake, source: Path, operator: ClassifyEmotions, undisturbed: Path
) -> None:
    for file in FILES:
        lake.put(f"in/{file}", (source / file).read_bytes())
    fault = lake.proxy.fail("error", ".*", ".*", status=503, rate=0.2)
    report = enrich_dataset(lake.uri("in"), lake.uri(), operator)
    assert (report.files, report.rows) == (2, ROWS)
    assert fault.hits > 5
    lake.proxy.faults.clear()
    for file in FILES:
        lake.client.delete_object(Bucket=lake.bucket, Key=f"in/{file}")
    assert_as_if_undisturbed(lake, undisturbed)


def test_an_upload_whose_responses_are_all_lost_is_found_to_have_landed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion_ops.io.filesystems._S3_ATTEMPTS", 2)  # the test waits less than the package
    if lake.kind != "arrow":
        monkeypatch.setattr("s3fs.S3FileSystem.retries", 2)
    if lake.kind == "arrow":  # it uploads in parts; the last request completes the object
        lake.proxy.fail("cut", "POST", "/object.*uploadId", times=10**6)
    else:
        lake.proxy.fail("cut", "PUT", "/object", times=10**6)
    folder = Folder(lake.uri())
    folder.publish_bytes(b"new", "object", new=True)
    assert folder.read("object") == b"new"
    with pytest.raises(FileExistsError):
        folder.publish_bytes(b"other", "object", new=True)
    assert folder.read("object") == b"new"


def test_an_older_object_of_the_same_size_is_not_taken_for_the_new_one(lake: Lake) -> None:
    folder = Folder(lake.uri())
    folder.publish_bytes(b"old", "object")
    fault = lake.proxy.fail("error", "PUT|POST", "/object", times=10**6, status=403)
    with pytest.raises(OSError, match=r"(?i)access.?denied|forbidden|injected"):
        folder.publish_bytes(b"new", "object")
    assert folder.read("object") == b"old"
    fault.times = 0
    folder.publish_bytes(b"new", "object")
    assert folder.read("object") == b"new"


def test_a_small_file_that_is_removed_while_it_is_read_is_gone_and_a_busy_store_is_asked_again(lake: Lake) -> None:
    folder = Folder(lake.uri())
    folder.publish_bytes(b"x" * 200, "object")
    lake.proxy.fail("error", "GET", "/object$", status=503, times=2)
    assert folder.read("object") == b"x" * 200
    remove = {"Bucket": lake.bucket, "Key": "out/object"}
    lake.proxy.fail("before", "GET", "/object$", then=lambda: lake.client.delete_object(**remove))
    assert folder.read("object") is None
    assert folder.read("object") is None


def test_a_file_that_another_run_published_is_not_replaced(
    conditional_lake: Lake, source: Path, operator: ClassifyEmotions
) -> None:
    lake = conditional_lake
    lake.proxy.fail("before", "PUT", "/day=1/", then=lambda: lake.put("out/day=1/rows.parquet", b"other"))
    with pytest.raises(DestinationConflictError, match="was published by another run"):
        enrich_dataset(source, lake.uri(), operator)
    assert lake.client.get_object(Bucket=lake.bucket, Key="out/day=1/rows.parquet")["Body"].read() == b"other"
    conditions = {request.condition for request in lake.proxy.seen if "/day=1/" in request.path}
    assert "*" in conditions


def test_hidden_folders_folder_markers_and_thousands_of_keys_are_listed_correctly(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"day={i % 7}/{i:05d}.parquet" for i in range(1_030)]
    filled = open_lake("s3fs", proxy, monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: filled.put(f"out/{name}", b""), names))
    for key in ("out/", "out/day=0/", "out/_emotion_ops/", "out/_emotion_ops/x.arrow", "out/.hidden/x", "outer/x"):
        filled.put(key, b"" if key.endswith("/") else b"x")
    for day, kind in enumerate(KINDS):
        with monkeypatch.context() as patch:
            lake = replace(open_lake(kind, proxy, patch), bucket=filled.bucket)
            folder = Folder(lake.uri())
            assert [entry.key for entry in folder.entries()] == sorted(names)
            hidden = {entry.key for entry in folder.entries(hidden=True)} - set(names)
            assert hidden == {"_emotion_ops/x.arrow", ".hidden/x"}
            assert folder.is_folder()
            assert folder.entry(names[-1]) == next(entry for entry in folder.entries() if entry.key == names[-1])
            assert folder.entry("day=6") is None
            assert not folder.child("nowhere").is_folder()
            assert folder.child("nowhere").entries() == []
            folder.delete("nowhere/x")
            folder.delete_folder("nowhere")
            folder.delete_folder(f"day={day}")
            left = [key for key in lake.listed() if key.startswith(f"out/day={day}/")]
            assert left == []
            names = [name for name in names if not name.startswith(f"day={day}/")]


@pytest.mark.parametrize("kind", ["disk", *KINDS])
def test_only_one_of_several_runs_gets_the_lease(
    kind: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Folder(str(tmp_path)) if kind == "disk" else Folder(open_lake(kind, proxy, monkeypatch).uri())
    holders, max_holders, total = 0, 0, 0
    counting = threading.Lock()

    def contend(number: int) -> None:
        nonlocal holders, max_holders, total
        while True:
            try:
                with hold_lease(folder, "" if number else "-0-of-2"):
                    with counting:
                        holders, total = holders + 1, total + 1
                        max_holders = max(max_holders, holders)
                    time.sleep(0.05)
                    with counting:
                        holders -= 1
                    return
            except DestinationBusyError:
                assert wait_for_lease(folder, "", 120)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(contend, range(3)))
    assert (max_holders, total) == (1, 3)
    assert find_leases(folder) == []


def test_shards_of_one_division_run_at_the_same_time_and_a_run_of_the_whole_does_not(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with hold_lease(folder, "-0-of-2"), hold_lease(folder, "-1-of-2"):
        for part in ("", "-0-of-2", "-0-of-3", "-a.parquet"):
            with pytest.raises(DestinationConflictError, match="is writing here"), hold_lease(folder, part):
                pass
    with hold_lease(folder, "-a.parquet"), hold_lease(folder, "-b.parquet"):
        pass
    assert find_leases(folder) == []


class Jobs:
    """The process that forks jobs of the command line; see jobs.py."""

    def __init__(self, home: Path) -> None:
        self.home = home
        script = Path(__file__).parents[1] / "support" / "jobs.py"
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, **request: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        response: int = json.loads(self._process.stdout.readline())
        return response

    def start(self, *argv: object, go: Path = Path("/")) -> Job:
        log = self.home / f"{uuid.uuid4().hex}.log"
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        request = {"argv": [str(one) for one in argv], "log": str(log), "go": str(go), "environment": environment}
        return Job(self, self._ask(**request), log)

    def wait(self, process: int) -> int:
        return self._ask(wait=process)

    def close(self) -> None:
        self._process.communicate(timeout=30)


@dataclass(frozen=True)
class Job:
    """A job that was started."""

    jobs: Jobs
    process: int
    log: Path

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Its exit code, or the signal below zero, and what it output, in one line."""
        return self.jobs.wait(self.process), self.output()

    def output(self) -> str:
        return " ".join(self.log.read_text().split()) if self.log.exists() else ""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    jobs = Jobs(tmp_path_factory.mktemp("logs"))
    yield jobs
    jobs.close()


def enrich_args(source: Path, destination: object, model: str, *more: object) -> list[object]:
    return ["enrich", source, destination, "--model", model, "--batch-size", 4, "--threads", 2, "--json", *more]


def test_after_a_kill_at_any_request_a_rerun_ends_like_an_undisturbed_run(
    conditional_lake: Lake,
    source: Path,
    operator: ClassifyEmotions,
    undisturbed: Path,
    tiny_model: str,
    jobs: Jobs,
    tmp_path: Path,
) -> None:
    lake = conditional_lake
    instants = [
        ("before", "PUT", "/journal/", 2),
        ("after", "PUT", "/day=1/", 0),
        ("before", "POST", "[?&]delete", 0),
        ("after", "PUT", "/leases/", 0),
        ("before", "PUT", "/report", 0),
    ]
    for when, method, path, skip in instants if lake.kind == "s3fs" else instants[:2]:
        for key in lake.listed():
            lake.client.delete_object(Bucket=lake.bucket, Key=key)
        go = tmp_path / uuid.uuid4().hex
        job = jobs.start(*enrich_args(source, lake.uri(), tiny_model), go=go)
        lake.proxy.faults[:] = []
        lake.proxy.fail(when, method, path, skip=skip, then=job.kill)
        go.touch()
        assert job.end()[0] == -signal.SIGKILL
        entries = sum(key.endswith(".arrow") for key in lake.listed())
        existing = sum(f"out/{file}" in lake.listed() for file in FILES)
        report = enrich_dataset(source, lake.uri(), operator)
        assert report.skipped == existing
        assert (report.rows_from_journal > 0) == (entries > (3 if existing == 1 else 0))
        assert_as_if_undisturbed(lake, undisturbed)


def test_of_four_runs_at_the_same_time_one_works_and_the_others_refuse_or_wait(
    conditional_lake: Lake, source: Path, undisturbed: Path, tiny_model: str, jobs: Jobs, tmp_path: Path
) -> None:
    lake, go, working, over = conditional_lake, tmp_path / "go", threading.Event(), threading.Event()

    def wait_until_the_others_refused() -> None:
        working.set()
        over.wait(60)

    lake.proxy.fail("before", "PUT", "/journal/", then=wait_until_the_others_refused)
    args = enrich_args(source, lake.uri(), tiny_model)
    four = [jobs.start(*args, go=go) for _ in range(4)]
    go.touch()
    assert working.wait(60)
    same, other = jobs.start(*args, "--wait", 60), jobs.start(*args, "--wait", 60, "--prefix", "other")
    while sum("wait for it" in job.output() for job in four) < 3:
        time.sleep(0.05)
    over.set()
    ends = sorted(job.end() for job in four)
    assert [code for code, _ in ends] == [0, 5, 5, 5]
    assert all("is writing here; wait for it" in output for code, output in ends if code)
    assert same.end()[0] == 0
    code, output = other.end()
    assert (code, "made otherwise" in output) == (5, True)
    assert_as_if_undisturbed(lake, undisturbed)


@pytest.mark.parametrize("prefix", ["emotion", "other"])
def test_concurrent_runs_into_one_folder_of_a_disk_do_not_mix_or_lose_rows(
    prefix: str, source: Path, undisturbed: Path, tiny_model: str, jobs: Jobs, tmp_path: Path
) -> None:
    out, go = tmp_path / "out", tmp_path / "go"
    prefixes = ["emotion", prefix, "emotion", prefix]
    four = [jobs.start(*enrich_args(source, out, tiny_model, "--prefix", one), go=go) for one in prefixes]
    go.touch()
    ends = [job.end() for job in four]
    assert {code for code, _ in ends} <= {0, 5}
    won = {one for one, (code, _) in zip(prefixes, ends, strict=True) if code == 0}
    assert len(won) == 1
    for code, output in ends:
        assert code == 0 or any(why in output for why in ("is writing here", "made otherwise", "by another run")), (
            output
        )
    [winner] = won
    for file in FILES:
        right = pq.read_table(undisturbed / file, partitioning=None)
        names = [name if name in ("id", "image") else name.replace("emotion", winner, 1) for name in right.column_names]
        assert_equal(pq.read_table(out / file, partitioning=None), right.rename_columns(names))
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.parquet")) == FILES
    assert leftovers(out) == ()


def test_a_run_that_was_suspended_past_its_lease_publishes_nothing(
    source: Path, operator: ClassifyEmotions, tiny_model: str, jobs: Jobs, tmp_path: Path
) -> None:
    for attempt in range(20):  # until one is caught between its first results and its first file
        out = tmp_path / f"out-{attempt}"
        sleeper = jobs.start(*enrich_args(source, out, tiny_model))
        while not list(out.glob("_emotion_ops/journal/*/*/*.arrow")) and not list(out.glob("day=*")):
            time.sleep(0.001)
        os.kill(sleeper.process, signal.SIGSTOP)
        if not list(out.glob("day=*")):
            break
        sleeper.kill()
        sleeper.end()
    [lease_file] = out.glob("_emotion_ops/leases/*.json")
    with pytest.raises(DestinationConflictError, match=f"process {sleeper.process} on"):
        enrich_dataset(source, out, ClassifyEmotions(model=tiny_model, prefix="other"))
    old = time.time() - STALE_AFTER - 1
    os.utime(lease_file, (old, old))
    assert enrich_dataset(source, out, ClassifyEmotions(model=tiny_model, prefix="other")).files == 2
    os.kill(sleeper.process, signal.SIGCONT)
    code, output = sleeper.end()
    assert code == 5
    assert "another run took over" in output
    for file in FILES:
        assert "other" in pq.read_schema(out / file).names


@pytest.mark.parametrize("kind", ["arrow", "s3fs"])
def test_a_large_file_is_uploaded_in_parts(
    kind: str, server: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lake = open_lake(kind, proxy, monkeypatch)
    big, size = tmp_path / "big", 256 * 2**20
    with big.open("wb") as file:
        file.truncate(size)
    script = f"""
import resource, sys
from pathlib import Path
if {kind == "arrow"}: sys.modules["s3fs"] = None
from emotion_ops.lake.targets.folder import Folder
folder = Folder("s3://{lake.bucket}/out?endpoint_override=127.0.0.1:{server}&scheme=http")
folder.publish_bytes(b"x", "small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder.publish(Path({str(big)!r}), "big", new=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert lake.client.head_object(Bucket=lake.bucket, Key="out/big")["ContentLength"] == size
    assert grown * 1024 < size / 2


def test_messages_have_no_secrets_of_a_uri(proxy: Proxy) -> None:
    uri = f"s3://key:topsecret@nowhere-{uuid.uuid4().hex[:8]}/in?endpoint_override=127.0.0.1:{proxy.port}&scheme=http"
    with pytest.raises(DatasetError) as caught:
        enrich_dataset(uri, uri, ClassifyEmotions(model="demo"))
    assert "topsecret" not in str(caught.value)
