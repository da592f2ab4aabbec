"""Importing the package is cheap and has no side effects."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import airflow_home  # noqa: F401  (before Airflow)
import pytest


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("package", ["emotion_ops", "emotion_ops.airflow"])
def test_importing_the_package_loads_only_the_standard_library_and_the_lazy_names(package: str) -> None:
    before_and_after = (
        f"before = set(sys.modules); import {package}; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = json.loads(run(f"import json, sys; {before_and_after}"))
    others = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert others == {"emotion_ops", "emotion_ops.lazy", package}


def test_naming_the_table_operator_loads_neither_torch_nor_transformers_nor_pandas() -> None:
    loaded = run(
        "import sys; from emotion_ops import ClassifyEmotions; ClassifyEmotions('photo', model='demo').output_columns();"
        "print([name for name in ('torch', 'transformers', 'pandas', 'narwhals') if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


@pytest.mark.parametrize("package", ["emotion_ops", pytest.param("emotion_ops.airflow", marks=pytest.mark.airflow)])
def test_every_public_name_of_the_stub_is_there_and_a_wrong_name_is_an_error(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert module.__all__ == dir(module)
    with pytest.raises(AttributeError, match="has no attribute 'classify'"):
        module.classify  # noqa: B018  # looking the name up is what is tested


@pytest.mark.slow
def test_the_first_network_has_openmp_wait_passively_before_torch_is_there_and_no_import_does() -> None:
    program = (
        "import os, sys; from emotion_ops import ClassifyEmotions; assert 'OMP_WAIT_POLICY' not in os.environ\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': print(os.environ.get('OMP_WAIT_POLICY'))\n"
        "sys.meta_path.insert(0, Watch()); ClassifyEmotions(model='demo', engine='torch').load_engine()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split()[0] == "PASSIVE"
