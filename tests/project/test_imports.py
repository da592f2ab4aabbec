"""Importing the package is cheap and has no side effects."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = (
        "torch",
        "transformers",
        "pandas",
        "pyarrow",
        "numpy",
        "PIL",
        "narwhals",
        "huggingface_hub",
        "typer",
        "rich",
    )
    loaded = run(f"import sys, emotion_ops; print([name for name in {heavy!r} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_naming_the_table_operator_loads_neither_torch_nor_transformers_nor_pandas() -> None:
    loaded = run(
        "import sys; from emotion_ops import ClassifyEmotions; ClassifyEmotions('photo', model='demo').output_columns();"
        "print([name for name in ('torch', 'transformers', 'pandas', 'narwhals') if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_importing_the_package_takes_under_100_ms() -> None:
    """The best of five fresh interpreters: a busy machine slows some of them, never all by chance alone."""
    code = "import time; t = time.perf_counter(); import emotion_ops; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(5)) < 0.1


def test_every_public_name_is_there_and_a_wrong_one_says_so() -> None:
    import emotion_ops

    for name in emotion_ops.__all__:
        assert getattr(emotion_ops, name) is not None
    assert set(emotion_ops.__all__) <= set(dir(emotion_ops))
    with pytest.raises(AttributeError, match="has no attribute 'classify'"):
        emotion_ops.classify  # noqa: B018  # looking the name up is what is tested


def test_the_table_of_lazy_names_and_the_public_names_are_one_set() -> None:
    import emotion_ops

    assert {*emotion_ops._HOMES, "__version__"} == set(emotion_ops.__all__)


def test_the_first_network_has_openmp_wait_passively_before_torch_is_there_and_no_import_does() -> None:
    program = (
        "import os, sys; from emotion_ops import ClassifyEmotions; assert 'OMP_WAIT_POLICY' not in os.environ\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': print(os.environ.get('OMP_WAIT_POLICY'))\n"
        "sys.meta_path.insert(0, Watch()); ClassifyEmotions(model='demo', engine='torch').columns_for([])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split()[0] == "PASSIVE"
