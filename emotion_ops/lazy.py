"""Public names that load at first use, written once: in the ``__init__.pyi`` beside a package's ``__init__.py``.

The stub is what type checkers read. At run time :func:`attach` finds there which module has which name. This is the
convention of the package ``lazy_loader``, in a few lines of our own: an Airflow environment needs no more than
``pip install --no-deps emotion-ops``.
"""

import ast
import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any


def attach(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Read the stub of a package.

    Args:
        package: The package's ``__name__``. Its stub has ``from .module import Name as Name`` alone.

    Returns:
        The package's ``__getattr__``, ``__dir__`` and ``__all__``.
    """
    stub = pkgutil.get_data(package, "__init__.pyi")
    if stub is None:
        raise ImportError(f"{package} was installed without its __init__.pyi", name=package)
    imports = (node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom))
    modules = {alias.name: f"{package}.{node.module}" for node in imports for alias in node.names}

    def getattr_(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return getattr_, lambda: sorted(modules), sorted(modules)
