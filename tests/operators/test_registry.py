"""Operators are found by the names that installed packages register, and nothing else is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emotion_ops import ClassifyEmotions, OptionError
from emotion_ops.operators import registry
from emotion_ops.testing.operators import ImageStatistics

Install = Callable[..., None]

OPERATOR = """
from emotion_ops.testing.operators import ImageStatistics

class Mine(ImageStatistics):
    pass

NOT_AN_OPERATOR = print
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package that registers names, for this test."""
    modules = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def installed(package: str, code: str = OPERATOR, **names: str) -> None:
        (tmp_path / f"{package}.py").write_text(code)
        metadata = tmp_path / f"{package}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        entries = "\n".join(f"{name} = {value}" for name, value in names.items())
        (metadata / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{entries}\n")
        forget()

    yield installed
    monkeypatch.undo()
    for module in set(sys.modules) - modules:
        del sys.modules[module]
    forget()


def forget() -> None:
    """What is installed is read once for each process."""
    registry._entry_points.cache_clear()
    registry.name_of.cache_clear()


def test_the_packages_own_operators_are_registered() -> None:
    assert {"classify_emotions", "image_statistics"} <= set(registry.names())
    assert registry.load_operator_class("classify_emotions") is ClassifyEmotions
    assert registry.name_of(ClassifyEmotions) == ClassifyEmotions().name == "classify_emotions"
    assert ImageStatistics().identity()["operator"] == "image_statistics"


def test_an_operator_of_another_package_is_found_by_its_name_and_has_it_as_its_own(install: Install) -> None:
    install("other_package", other="other_package:Mine")
    assert registry.is_registered("other")
    assert "other" in registry.names()
    assert "other_package" not in sys.modules, "names are listed without importing their packages"
    operator = registry.load_operator_class("other")("photo")
    assert (operator.name, operator.inputs) == ("other", ("photo",))
    assert registry.load_operator_class(operator.identity()["operator"]).from_identity(operator.identity()) == operator


def test_a_class_that_is_not_registered_has_the_name_of_its_module_and_is_not_imported_by_it(install: Install) -> None:
    install("other_package", other="other_package:Mine")

    class Local(ImageStatistics):
        pass

    name = Local().name
    assert name == f"{__name__}:{Local.__qualname__}"
    for unregistered in (name, "other_package:Mine", "os:system", ""):
        assert not registry.is_registered(unregistered)
        with pytest.raises(OptionError):
            registry.load_operator_class(unregistered)
    assert "other_package" not in sys.modules


def test_an_unknown_name_is_refused_with_the_names_that_are_known(install: Install) -> None:
    install("other_package", other="other_package:Mine")
    with pytest.raises(OptionError, match=r"operator='othr'.*give one of .*'classify_emotions'.*'other'.*or install"):
        registry.load_operator_class("othr")


@pytest.mark.parametrize(
    ("code", "value", "message"),
    [
        ("", "other_package:Mine", "cannot be imported .*install its package again"),
        ("import no_such_package", "other_package:Mine", "cannot be imported .*no_such_package"),
        (OPERATOR, "no_such_module:Mine", "cannot be imported .*no_such_module"),
        (OPERATOR, "other_package:NOT_AN_OPERATOR", "other_package:NOT_AN_OPERATOR is not a table operator"),
    ],
)
def test_a_registered_name_that_cannot_be_loaded_says_why(
    install: Install, code: str, value: str, message: str
) -> None:
    install("other_package", code, other=value)
    with pytest.raises(OptionError, match=rf"operator='other'.*{message}"):
        registry.load_operator_class("other")


def test_a_name_that_two_packages_register_differently_is_refused(install: Install) -> None:
    install("other_package", other="other_package:Mine")
    install("third_package", other="third_package:Mine")
    with pytest.raises(OptionError, match=r"operator='other'.*_package:Mine and .*_package:Mine.*uninstall"):
        registry.load_operator_class("other")


def test_a_class_is_known_by_its_name_if_it_is_registered_by_a_shorter_path(install: Install, tmp_path: Path) -> None:
    folder = tmp_path / "long_package"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("from long_package.inner import Mine\n")
    (folder / "inner" / "__init__.py").write_text(OPERATOR)
    install("unused", short="long_package:Mine")
    found: Any = registry.load_operator_class("short")
    assert found.__module__ == "long_package.inner"
    assert registry.name_of(found) == "short"
