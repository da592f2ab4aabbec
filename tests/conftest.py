"""What the tests share: networks with fixed-seed weights, saved as anyone saves theirs."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the package does, before anyone imports torch
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes run the tests, and two threads each would be too many
os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches for the network; those of the hub start a server of their own
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a script's background job: those it starts would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)
if (
    "EMOTION_OPS_CACHE" not in os.environ
):  # graphs of networks: one place for all processes of this run, and none after it
    os.environ["EMOTION_OPS_CACHE"] = tempfile.mkdtemp(prefix="emotion-ops-tests-")
    atexit.register(shutil.rmtree, os.environ["EMOTION_OPS_CACHE"], ignore_errors=True)

COSTLY = {"airflow", "spark", "s3", "kills", "browser", "slow"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with costly tests come first, so that no long one is left for the end; a file stays in one process."""
    costly = {item.path for item in items if COSTLY & {mark.name for mark in item.iter_markers()}}
    items.sort(key=lambda item: item.path not in costly)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny ViT of 32 px with the seven labels of the default model."""
    from emotion_ops.testing import save_tiny_model

    return str(save_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What this package logs, from its own logger: Airflow, in the same process, replaces the handlers of the root."""
    log = logging.getLogger("emotion_ops")
    handlers, propagate = log.handlers, log.propagate
    log.handlers, log.propagate = [caplog.handler], False
    caplog.handler.setLevel(logging.NOTSET)
    yield caplog
    log.handlers, log.propagate = handlers, propagate
