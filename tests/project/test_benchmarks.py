"""The benchmarks run with tiny sizes and give all figures."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import compare
import drift
import gpu
import numpy as np
import pytest
from comparison import startup
from comparison.contenders import contenders
from comparison.figures import figures
from comparison.frameworks import Barrier
from comparison.images import batches, jpegs, write_table

pytestmark = pytest.mark.slow


def test_the_comparison_runs_and_prints_its_table_again_from_the_json(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, chosen = tmp_path / "compare.json", ["pipeline, batch 8", "torch fp32"]
    compare.main(
        [
            "--only",
            *chosen,
            "--images",
            "5",
            "--rounds",
            "1",
            "--warm-up",
            "2",
            "--model",
            tiny_model,
            "--json",
            str(results),
        ]
    )
    written = json.loads(results.read_text())
    ran = {one["name"]: one for one in written["figures"]}
    assert list(ran) == ["transformers.pipeline, batch 8", "torch fp32, network only", "torch fp32, stream"]
    assert all(len(one["rates"]) == 1 and one["median"] > 0 and one["difference"] < 1e-5 for one in ran.values())
    stream, network = (ran[f"torch fp32, {what}"] for what in ("stream", "network only"))
    assert stream["of_network"] == pytest.approx(stream["median"] / network["median"])
    assert {"processor", "cores", "instructions"} <= written["machine"].keys()
    assert {"torch", "transformers", "pillow"} <= written["versions"].keys()
    capsys.readouterr()
    compare.main(["--markdown", str(results)])
    assert capsys.readouterr().out.count("| torch fp32, ") == 2


def test_contenders_that_are_not_installed_are_left_out_with_the_command_that_installs_them(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("ray", "daft", "datasets"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in {"ray", "daft", "datasets"} else name)
    chosen, left_out = compare._choose(["Ray", "Daft", "datasets", "batch 1"])
    assert [one.name for one in chosen] == ["transformers.pipeline, batch 1"]
    assert left_out["Ray Data map_batches"] == (
        "ray not installed; pip install --constraint constraints.txt --group bench"
    )
    assert len(left_out) == 3


def test_ratios_are_of_medians_and_of_the_pipelines_best_batch_size() -> None:
    chosen = [one for one in contenders() if one.name.startswith(("transformers", "openvino int8"))]
    rates = {one.name: [10.0, 1.0, 4.0] for one in chosen} | {
        "transformers.pipeline, batch 8": [5.0, 5.0, 5.0], "openvino int8, network only": [40.0, 50.0, 60.0],
        "openvino int8, stream": [45.0, 44.0, 46.0],
    }  # fmt: skip
    probabilities = {one.name: np.full((2, 7), 0.1 if one.group == "pipeline" else 0.3) for one in chosen}
    found = {one.name: one for one in figures(chosen, rates, probabilities)}
    ours = found["openvino int8, stream"]
    assert (ours.median, ours.of_pipeline, ours.of_network) == (45, 9, 0.9)
    assert ours.difference == pytest.approx(0.2)
    assert found["transformers.pipeline, batch 1"].of_pipeline == 0.8
    assert found["openvino int8, network only"].of_network is None


def test_no_two_rows_are_equal_within_a_round_or_between_rounds(tmp_path: Path) -> None:
    files = jpegs(2, (64, 48))
    rounds = [write_table(tmp_path / name, files, 40, name) for name in ("one", "two")]
    cells = [cell for one in rounds for batch in batches(one) for cell in batch.column(0).to_pylist()]
    assert len(set(cells)) == len(cells) == 80


def test_workers_wait_for_each_other_and_not_without_end(tmp_path: Path) -> None:
    Barrier(tmp_path / "alone", 1).wait()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("comparison.frameworks._TIMEOUT", 0.05)
        with pytest.raises(TimeoutError, match="fewer than 2 workers started"):
            Barrier(tmp_path / "two", 2).wait()


def test_a_start_is_timed_until_its_first_result_and_a_failure_says_why(tiny_model: str, tmp_path: Path) -> None:
    source = write_table(tmp_path / "source", jpegs(1, (64, 48)), 1, "start")
    assert startup._start(startup._OURS.format(model=tiny_model, source=str(source), engine="torch"), tmp_path) > 0
    with pytest.raises(RuntimeError, match="because of this"):
        startup._start("raise SystemExit('because of this')", tmp_path)
    assert "| torch | 2.0 | 1.0–4.0 |" in startup.as_markdown({"torch": [2.0, 1.0, 4.0]})


def test_the_device_benchmark_runs_without_a_gpu(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "gpu.json"
    tiny = "--images 8 --distinct 2 --batches 4 --modes eager graph engine --matrix 64 --sizes 64x48 --seconds 0.01"
    also = "--pipeline-batches 2 --pipeline-images 4 --rounds 1 --rows-of-a-file 4 --device cpu"
    gpu.main([*tiny.split(), *also.split(), "--model", tiny_model, "--json", str(results)])
    written = json.loads(results.read_text())
    network, decoding, whole = written["tables"]
    assert written["device"] == "cpu"
    assert network["teraflops"] > 0
    assert network["rows"][0]["eager"] > 0
    assert network["rows"][0]["engine"] > 0
    assert network["rows"][0]["graph"].startswith("failed: ")  # a CPU has none, and the others ran
    assert decoding["rows"][0]["1 threads"] > 0
    assert whole["rows"][0]["emotion_ops"] > 0
    assert whole["rows"][0]["pipeline"] == max(whole["rows"][0]["pipeline rates"].values())
    capsys.readouterr()
    gpu.main(["--markdown", str(results)])
    assert "| 64x48 | " in capsys.readouterr().out


def test_drift_is_measured_for_each_engine_and_precision_and_for_your_own_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, face in enumerate(drift.draw_faces(6, (64, 64))):
        (tmp_path / f"{number}.jpg").write_bytes(face)
    results = tmp_path / "drift.json"
    drift.main(["--images", str(tmp_path), "--device", "cpu", "--count", "4", "--json", str(results)])
    drifts = json.loads(results.read_text())["drifts"]
    assert drifts["engine=torch, precision=bf16"]["images"] == 3  # every second of six
    assert 0 < drifts["engine=torch, precision=bf16"]["largest"] < 0.2
    assert drifts["engine=openvino, precision=fp32"]["largest"] < 1e-5
    assert drifts["engine=openvino, precision=fp32"]["agreement"] == 1
    assert "int8 is skipped: give --calibration" in capsys.readouterr().out
    drift.main(["--markdown", str(results)])
    assert "| engine=openvino, precision=bf16 | " in capsys.readouterr().out


def test_drift_counts_rows_that_only_one_classified_and_normalises() -> None:
    expected = np.array([[0.5, 0.5], [0.9, 0.1], [np.nan, np.nan]])
    found = np.array([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]])
    one = drift.compare_probabilities(expected, found)
    assert (one.images, one.failed, one.largest) == (2, 1, 0.25)
    assert one.kl == pytest.approx(0.5 * 0.5 * (np.log(2) + np.log(2 / 3)))
    assert one.agreement == 0.5
