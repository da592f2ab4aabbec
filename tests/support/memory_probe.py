"""The peak memory of code in a process of its own, and large images for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import photo
from PIL import Image

on_linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process's peak")

MEASURE = """
import json, re, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from PIL import Image
from emotion_ops.images.decoder import ImageDecoder
from emotion_ops.images.decoding import Decoding
from emotion_ops.images.limits import Limits
from emotion_ops.images.loader import ImageLoader
from emotion_ops.io.access import Access
from emotion_ops.images.memory import Memory, return_freed_memory
from emotion_ops.images.resize import Resize

def kilobytes(line):
    return int(re.search(line + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def peak_of(work):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = kilobytes("VmRSS")
    work()
    return (kilobytes("VmHWM") - before) / 1000

limits, resize, folder = Limits(), Resize((64, 64), Image.Resampling.BILINEAR, None), Path(sys.argv[1])
"""


def measured(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + script, *arguments], check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def large(mode: str = "RGB", side: int = 1500) -> Image.Image:
    rgb = photo(0, 150, 150).resize((side, side))
    if mode == "P":
        return rgb.quantize(64)
    return Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 3) if mode == "I;16" else rgb.convert(mode)
