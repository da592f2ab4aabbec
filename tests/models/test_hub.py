"""A model on the hub is found at its commit, downloaded without its pickles, and used offline later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer

from emotion_ops.testing import save_tiny_model

NAME = "someone/emotions"
FIRST, SECOND = "1" * 40, "2" * 40

# The child's program: its log goes to stderr, its results to stdout as JSON.
CHILD = """
import json, logging, sys
logging.basicConfig(format="%(name)s|%(message)s")
from emotion_ops import EmotionOpsError
from emotion_ops.models.checkpoint import resolve_checkpoint
results = []
for model, revision, config_only in json.loads(sys.argv[1]):
    try:
        found = resolve_checkpoint(model, revision, config_only=config_only)
        results.append([found.commit, sorted(p.name for p in found.folder.iterdir()), None if config_only else found.weights_sha256()])
    except EmotionOpsError as error:
        results.append([type(error).__name__, str(error)])
print(json.dumps(results))
"""


class Client:
    """Runs ``resolve_checkpoint`` in a child process that uses one hub and one cache."""

    def __init__(self, endpoint: str, cache: Path) -> None:
        self.environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        self.environment.pop("HF_TOKEN", None)
        self.log = ""

    def resolve(self, *calls: tuple[str, str | None, bool], **environment: str) -> list[Any]:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(calls)],
            env={**self.environment, **environment}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.log = "\n".join(line for line in done.stderr.splitlines() if line.startswith("emotion_ops|"))
        results: list[Any] = json.loads(done.stdout.splitlines()[-1])
        return results


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two commits of a model with files of a training run, and one model of pickles only."""
    folders = {
        commit: save_tiny_model(tmp_path_factory.mktemp("commit"), seed=seed)
        for seed, commit in enumerate((FIRST, SECOND))
    }
    for folder in folders.values():
        (folder / "training_args.bin").write_bytes(b"pickle")
        (folder / "checkpoint-10").mkdir()
        (folder / "checkpoint-10" / "model.safetensors").write_bytes(b"not wanted")
    folders["pickled"] = save_tiny_model(tmp_path_factory.mktemp("pickled"))
    (folders["pickled"] / "model.safetensors").rename(folders["pickled"] / "pytorch_model.bin")
    return folders


@pytest.fixture
def hub(folders: dict[str, Path]) -> Iterator[HubServer]:
    with HubServer() as server:
        server.add_commit(NAME, folders[FIRST], FIRST)
        yield server


@pytest.fixture
def client(hub: HubServer, tmp_path: Path) -> Client:
    return Client(hub.endpoint, tmp_path / "cache")


def sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_an_unpinned_model_is_found_at_its_commit_and_warned_about_once(
    hub: HubServer, client: Client, folders: dict[str, Path]
) -> None:
    results = client.resolve((NAME, None, False), (NAME, None, False), (NAME, None, True))
    assert [result[0] for result in results] == [FIRST] * 3
    assert results[0][2] == sha256(folders[FIRST] / "model.safetensors")
    assert client.log.count("pin it") == 1
    assert f"revision='{FIRST}'" in client.log
    gets = [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]
    assert sorted(request.rpartition("/")[2] for request in gets) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert not any("checkpoint-10" in request or ".bin" in request for request in gets)


def test_with_config_only_no_weights_are_downloaded(hub: HubServer, client: Client) -> None:
    [[commit, files, _]] = client.resolve((NAME, None, True))
    assert (commit, files) == (FIRST, ["config.json", "preprocessor_config.json"])
    assert not any("safetensors" in request for request in hub.requests)


@pytest.mark.slow
def test_a_pinned_commit_stays_when_the_branch_moves_and_logs_no_warning(
    hub: HubServer, client: Client, folders: dict[str, Path]
) -> None:
    hub.add_commit(NAME, folders[SECOND], SECOND)
    pinned, moved = client.resolve((NAME, FIRST, False), (NAME, "main", False))
    assert (pinned[0], moved[0]) == (FIRST, SECOND)
    assert pinned[2] != moved[2]
    assert "'main'" in client.log
    client.resolve((NAME, FIRST, False))
    assert client.log == ""


def test_offline_the_cache_is_used_and_without_a_cache_the_error_says_what_to_do(
    hub: HubServer, client: Client
) -> None:
    [missing] = client.resolve((NAME, None, False), HF_HUB_OFFLINE="1")
    assert missing[0] == "ModelNotFoundError"
    assert "HF_HUB_OFFLINE" in missing[1]
    assert f"hf download {NAME}" in missing[1]
    online = client.resolve((NAME, None, False))
    offline, pinned = client.resolve((NAME, None, False), (NAME, FIRST, False), HF_HUB_OFFLINE="1")
    assert online == [offline]
    assert pinned == offline


def test_if_the_hub_does_not_respond_the_cache_is_used(folders: dict[str, Path], tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add_commit(NAME, folders[FIRST], FIRST)
        client = Client(hub.endpoint, tmp_path)
        online = client.resolve((NAME, None, False))
    assert client.resolve((NAME, None, False)) == online
    [unknown] = client.resolve(("someone/else", None, False))
    assert unknown[0] == "ModelNotFoundError"
    assert "cannot be downloaded" in unknown[1]


@pytest.mark.parametrize(
    ("model", "revision", "words"),
    [
        ("someone/nothing", None, "no such model"),
        (NAME, "no-such-branch", "has no revision 'no-such-branch'"),
        (NAME, "f" * 40, "f" * 40),
        ("someone/gated", None, "hf auth login"),
        ("not a name!", None, "neither a local folder nor a hub id"),
    ],
)
def test_what_the_hub_does_not_have_or_hides_is_one_clear_error(
    hub: HubServer, client: Client, folders: dict[str, Path], model: str, revision: str | None, words: str
) -> None:
    hub.add_commit("someone/gated", folders[FIRST], FIRST, gated=True)
    [[kind, message]] = client.resolve((model, revision, False))
    assert kind == "ModelNotFoundError"
    assert words in message
    assert model in message


def test_the_token_of_the_hubs_own_tools_is_used(hub: HubServer, client: Client, folders: dict[str, Path]) -> None:
    hub.add_commit("someone/gated", folders[FIRST], FIRST, gated=True)
    [result] = client.resolve(("someone/gated", None, False), HF_TOKEN="hf_something")
    assert result[0] == FIRST


def test_pickled_weights_are_refused_without_downloading_them(
    hub: HubServer, client: Client, folders: dict[str, Path]
) -> None:
    hub.add_commit("someone/pickled", folders["pickled"], FIRST)
    [[kind, message]] = client.resolve(("someone/pickled", None, False))
    assert kind == "UnsafeWeightsError"
    assert "pytorch_model.bin" in message
    assert not any(request.startswith("GET") and request.endswith(".bin") for request in hub.requests)


def test_the_lineage_of_a_result_names_the_commit(hub: HubServer, client: Client, tmp_path: Path) -> None:
    code = (
        "import json; from emotion_ops import ClassifyEmotions;"
        f"op = ClassifyEmotions(model={NAME!r}); import pyarrow as pa;"
        "print(json.dumps([op.output_schema(pa.schema([('image', pa.binary())])).field('emotion').metadata[b'emotion_ops'].decode(), op.pinned().revision, op.pinned().pinned().revision]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env=client.environment, capture_output=True, text=True, check=True
    ).stdout
    lineage, pinned, again = json.loads(out)
    assert json.loads(lineage)["revision"] == pinned == again == FIRST
