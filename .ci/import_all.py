"""Import every module of the installed package; one that needs a package that is not installed is named."""

import importlib
import pkgutil
import sys
from collections import Counter

import emotion_ops

done = 0
lacking: Counter[str] = Counter()
for module in pkgutil.walk_packages(emotion_ops.__path__, "emotion_ops."):
    if module.name == "emotion_ops.__main__":
        continue
    try:
        importlib.import_module(module.name)
        done += 1
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package == "emotion_ops":
            raise
        lacking[package] += 1
without = ", ".join(f"{count} without {package}" for package, count in lacking.items())
print(f"Python {sys.version.split()[0]}: {done} modules imported; skipped: {without or 'none'}")
