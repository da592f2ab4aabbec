"""Every engine gives the numbers of its precision; options that cannot be combined are refused with a hint."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import drawn_faces
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from emotion_ops import (
    Cache,
    ClassifyEmotions,
    DestinationConflictError,
    Int8,
    OptionError,
    UnsupportedModelError,
    enrich_dataset,
)
from emotion_ops.models.engines.choice import ENGINES
from emotion_ops.operators.classify.calibration import _cells
from emotion_ops.testing import faces_table, save_tiny_model

HELD_OUT = 20_000  # a seed that neither training nor calibration uses


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    os.environ["EMOTION_OPS_CACHE"] = str(folder)
    yield folder
    del os.environ["EMOTION_OPS_CACHE"]


@pytest.fixture(scope="module")
def faces() -> pa.Table:
    return drawn_faces.faces_table(210, seed=HELD_OUT, size=96)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "faces.parquet"
    pq.write_table(drawn_faces.faces_table(126, seed=10_000, size=96), path)
    return path


@pytest.fixture(scope="module")
def expected(faces: pa.Table) -> NDArray[np.float32]:
    """The probabilities of torch in fp32."""
    return probabilities(ClassifyEmotions(model="demo", engine="torch"), faces)


def probabilities(operator: ClassifyEmotions, table: pa.Table) -> NDArray[np.float32]:
    out = operator(table)
    return np.stack([out.column(name).to_numpy() for name in operator.output_columns().probabilities], axis=1)


def test_openvino_in_fp32_gives_torchs_numbers_at_any_batch_size(
    faces: pa.Table, expected: NDArray[np.float32]
) -> None:
    for batch_size in (1, 7, 32):
        operator = ClassifyEmotions(model="demo", engine="openvino", batch_size=batch_size, cache=Cache(0))
        np.testing.assert_allclose(probabilities(operator, faces), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "precision", "agreement"),
    [("torch", "bf16", 0.995), ("openvino", "bf16", 0.995), ("openvino", "int8", 0.985)],
)
def test_lower_precisions_give_the_same_labels(
    engine: str, precision: str, agreement: float, faces: pa.Table, expected: NDArray[np.float32], calibration: Path
) -> None:
    given = Int8(calibration) if precision == "int8" else precision
    operator = ClassifyEmotions(model="demo", engine=engine, precision=given)  # type: ignore[arg-type]
    ours = probabilities(operator, faces)
    assert (ours.argmax(axis=1) == expected.argmax(axis=1)).mean() >= agreement
    np.testing.assert_allclose(ours.sum(axis=1), 1, atol=1e-5)
    assert 0 < np.abs(ours - expected).max() < 0.5  # another precision, but not another network


def test_threads_that_share_an_engine_get_their_own_results(faces: pa.Table, expected: NDArray[np.float32]) -> None:
    operator = ClassifyEmotions(model="demo", engine="openvino", batch_size=5, cache=Cache(0))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda start: probabilities(operator, faces.slice(start, 20)), range(0, 120, 20)))
    np.testing.assert_allclose(np.concatenate(parts), expected[:120], atol=1e-5)


def test_a_graph_is_made_once_for_equal_weights(cache: Path, tmp_path: Path) -> None:
    table = faces_table(2)
    models = [save_tiny_model(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("same", 1), ("b", 2))]
    before = {path.parent for path in cache.rglob("network.xml")}
    results = [probabilities(ClassifyEmotions(model=str(model), engine="openvino"), table) for model in models]
    assert len({path.parent for path in cache.rglob("network.xml")} - before) == 2
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 1e-3
    for model, result in zip(models, results, strict=True):
        by_torch = probabilities(ClassifyEmotions(model=str(model), engine="torch"), table)
        np.testing.assert_allclose(result, by_torch, atol=1e-5)
    assert not list(cache.rglob("unfinished*"))


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "zeros", "deleted"])
def test_a_damaged_graph_is_made_again(damage: str, cache: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path, seed={"truncated": 11, "zeros": 12, "deleted": 13}[damage])
    code = (
        "import sys; from emotion_ops import ClassifyEmotions; from emotion_ops.testing import faces_table\n"
        f"out = ClassifyEmotions(model={str(model)!r}, engine='openvino')(faces_table(2))\n"
        "print([out.column(name).to_pylist() for name in out.column_names if name.startswith('emotion_')])"
    )
    before = set(cache.rglob("network.bin"))
    first = subprocess.check_output([sys.executable, "-c", code], text=True)
    (file,) = set(cache.rglob("network.bin")) - before
    written = file.read_bytes()
    if damage == "deleted":
        file.unlink()
    else:
        half = len(written) // 2
        file.write_bytes(written[:half] + (b"" if damage == "truncated" else bytes(len(written) - half)))
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == first
    assert file.read_bytes() == written


@pytest.mark.slow
def test_without_a_writable_cache_the_numbers_are_the_same_and_the_log_says_what_to_do(
    tmp_path: Path, faces: pa.Table, expected: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("a folder cannot be made in a file")
    monkeypatch.setenv("EMOTION_OPS_CACHE", str(tmp_path / "file" / "cache"))
    code = (
        "from emotion_ops import ClassifyEmotions; from emotion_ops.testing import faces_table\n"
        "out = ClassifyEmotions(model='demo', engine='openvino')(faces_table(3))\n"
        "print(out['emotion_error'].null_count)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "3\n"
    assert "cannot be stored" in done.stderr
    assert "EMOTION_OPS_CACHE" in done.stderr


def test_files_of_the_cache_have_the_permissions_of_the_umask(cache: Path, tmp_path: Path) -> None:
    """A container image may be built by one user and run by another."""
    model = save_tiny_model(tmp_path, seed=16)
    before = set(cache.rglob("*"))
    ClassifyEmotions(model=str(model), engine="openvino")(faces_table(1))
    made = set(cache.rglob("*")) - before
    umask = os.umask(0)
    os.umask(umask)
    assert made
    for path in made:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_unfinished_folders_of_killed_processes_are_removed_after_a_day(cache: Path, tmp_path: Path) -> None:
    old, new = cache / "openvino" / "unfinished-old", cache / "openvino" / "unfinished-new"
    for folder in (old, new):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "network.bin").write_bytes(b"x")
    os.utime(old, (0, 0))
    ClassifyEmotions(model=str(save_tiny_model(tmp_path, seed=17)), engine="openvino")(faces_table(1))
    assert not old.exists()
    assert new.exists()
    shutil.rmtree(new)


def test_a_process_notices_other_images_to_calibrate_on(tmp_path: Path, faces: pa.Table) -> None:
    for row, image in enumerate(faces.column("image").to_pylist()[:30]):
        (tmp_path / f"{row}.jpg").write_bytes(image["bytes"])
    (tmp_path / "30.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "31.jpg").mkdir()
    operator = ClassifyEmotions(model="demo", precision=Int8(tmp_path))
    first = operator.identity()
    assert operator.identity() == first
    (tmp_path / "0.jpg").unlink()
    assert operator.identity()["calibration"] != first["calibration"]


@pytest.mark.slow
def test_the_second_process_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path, seed=15)
    code = (
        "import sys; from emotion_ops import ClassifyEmotions; from emotion_ops.testing import faces_table\n"
        f"out = ClassifyEmotions(model={str(model)!r})(faces_table(2))\n"
        "print(out['emotion_happy'].to_pylist(), file=sys.stderr)\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        for _ in range(2)
    )
    assert first.stdout == "True True\n"
    assert second.stdout == "False False\n"
    assert second.stderr.splitlines()[-1] == first.stderr.splitlines()[-1]


def test_a_graph_whose_numbers_differ_from_torchs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion_ops.models.engines.openvino_graph.TOLERANCE", 0.0)  # no two libraries agree so well
    model = save_tiny_model(tmp_path, seed=14)
    with pytest.raises(UnsupportedModelError, match=r"differ from torch's by \d.*give engine='torch'"):
        ClassifyEmotions(model=str(model), engine="openvino")(faces_table(1))


OUT_OF_MEMORY = """
import logging, resource, sys
import numpy as np
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from emotion_ops import ModelError
from emotion_ops.models.engines.engine import load_engine
model, engine, spare = sys.argv[1], sys.argv[2], int(sys.argv[3])
engine = load_engine(model, None, "cpu", engine, "fp32")
images = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), np.uint8)
expected = np.concatenate([engine.predict(images[row : row + 1]) for row in range(70)])
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + spare, used + spare))
try:
    print(abs(engine.predict(images) - expected).max() < 1e-5)
except ModelError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def large_activations(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network whose activations take 17 MB for each image."""
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 16384, "image_size": 64, "patch_size": 4}
    return str(save_tiny_model(tmp_path_factory.mktemp("large"), **sizes))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_out_of_memory_halves_the_batch_and_every_row_is_computed(engine: str, large_activations: str) -> None:
    """A real allocation fails: the size of the process is limited."""
    code = [sys.executable, "-c", OUT_OF_MEMORY, large_activations, engine, str(400 * 2**20)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "True\n", done.stderr
    assert "out of memory on cpu with 70 images in a batch: continuing with 35" in done.stderr


@pytest.mark.slow
def test_without_memory_for_one_image_the_error_says_what_helps(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 131_072, "image_size": 64, "patch_size": 4}
    model = save_tiny_model(tmp_path, **sizes)  # its activations take 134 MB for an image
    code = [sys.executable, "-c", OUT_OF_MEMORY, str(model), "torch", str(32 * 2**20)]
    returns_freed_memory = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(code, env=returns_freed_memory, capture_output=True, text=True, timeout=120, check=True)
    assert "there is not enough memory on cpu for one image in fp32" in done.stdout, done.stderr


@pytest.mark.slow
def test_int8_can_be_calibrated_on_a_folder_of_images_and_needs_16(tmp_path: Path, faces: pa.Table) -> None:
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for row, image in enumerate(faces.column("image").to_pylist()[:40]):
        (tmp_path / "images" / "deep" / f"{row}.jpg").write_bytes(image["bytes"])
    (tmp_path / "images" / "broken.jpg").write_bytes(b"broken")
    operator = ClassifyEmotions(model="demo", precision=Int8(tmp_path / "images"))
    assert operator(faces.slice(0, 4)).column("emotion_error").null_count == 4
    with pytest.raises(OptionError, match="give a folder of images"):
        ClassifyEmotions(model="demo", precision=Int8(tmp_path / "nowhere"))(faces.slice(0, 1))
    pq.write_table(faces.slice(0, 3), tmp_path / "few.parquet")
    with pytest.raises(OptionError, match="holds 3 images that can be read, at least 16 are needed"):
        ClassifyEmotions(model="demo", precision=Int8(tmp_path / "few.parquet"))(faces.slice(0, 1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "openvino", "precision": "fp16"}, "OpenVINO does not compute in fp16"),
        ({"engine": "torch", "precision": Int8("x")}, "give engine='openvino'"),
    ],
)
def test_options_that_cannot_be_combined_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        ClassifyEmotions(model="demo", **options)(faces_table(1))  # type: ignore[arg-type]


@pytest.mark.slow
def test_without_openvino_the_error_names_the_command_that_installs_it() -> None:
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from emotion_ops import ClassifyEmotions, MissingDependencyError; from emotion_ops.testing import faces_table\n"
        "try: ClassifyEmotions(model='demo', engine='openvino')(faces_table(1))\n"
        "except MissingDependencyError as error: print(error)\n"
        "print(ClassifyEmotions(model='demo')(faces_table(1)).num_rows)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'emotion-ops[openvino]'" in done.stdout
    assert done.stdout.endswith("1\n")  # and auto takes torch


@pytest.mark.parametrize("is_on", [True, False])
def test_loading_a_network_restores_pythons_collector_even_if_it_fails(tmp_path: Path, is_on: bool) -> None:
    broken = save_tiny_model(tmp_path / "broken")
    (broken / "preprocessor_config.json").write_text("{}")
    (gc.enable if is_on else gc.disable)()
    try:
        ClassifyEmotions(model=str(save_tiny_model(tmp_path / "whole")), engine="torch")(faces_table(1))
        assert gc.isenabled() == is_on
        with pytest.raises(UnsupportedModelError):
            ClassifyEmotions(model=str(broken), engine="torch")(faces_table(1))
        assert gc.isenabled() == is_on
    finally:
        gc.enable()


def test_the_choice_of_auto_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    from emotion_ops.models.engines.choice import _choose_once
    from emotion_ops.operators.classify.session import _log_once

    _choose_once.cache_clear()
    _log_once.cache_clear()
    with caplog.at_level(logging.INFO, "emotion_ops"):
        ClassifyEmotions(model="demo", device="cpu")(faces_table(1))
    assert "network: openvino on cpu in fp32 (the faster one on a CPU" in caplog.text
    assert "batch_size: 16, which suits openvino on cpu" in caplog.text


def test_another_engine_or_calibration_changes_the_fingerprint_and_the_choice_of_auto_does_not(
    faces: pa.Table, calibration: Path, tmp_path: Path
) -> None:
    pq.write_table(faces.slice(0, 7), tmp_path / "source.parquet")

    def enrich(**options: object) -> int:
        operator = ClassifyEmotions(model="demo", **options)  # type: ignore[arg-type]
        return enrich_dataset(tmp_path / "source.parquet", tmp_path / "out", operator).skipped

    assert enrich() == 0
    assert enrich(engine="openvino", precision="fp32", device="cpu") == 1
    with pytest.raises(DestinationConflictError, match="engine: 'openvino' there, 'torch' now"):
        enrich(engine="torch")
    with pytest.raises(DestinationConflictError, match="precision: 'fp32' there, 'int8' now"):
        enrich(precision=Int8(calibration))


def test_calibration_reads_few_row_groups_spread_over_all_of_them(tmp_path: Path) -> None:
    """256 images do not need a scan of a data lake."""
    image = faces_table(1, size=32).column("image")[0].as_py()["bytes"]
    table = pa.table({"image": pa.array([image] * 4000, pa.binary())})
    for name in ("a", "b"):
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=100)
    read: list[tuple[str, int]] = []
    iter_batches = pq.ParquetFile.iter_batches

    def watched(self: pq.ParquetFile, *args: object, row_groups: list[int], **options: object) -> object:
        read.append((self.reader.num_row_groups, row_groups[0]))
        return iter_batches(self, *args, row_groups=row_groups, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq.ParquetFile, "iter_batches", watched)
        cells = list(_cells(str(tmp_path), "image"))
    assert len(read) == 16
    assert max(group for _, group in read) >= 35  # the last ones too
    assert 200 <= len(cells) <= 256
