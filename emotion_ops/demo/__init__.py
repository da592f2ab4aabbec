"""Drawn faces, a tiny model trained on them and a small data set: things to try the pipeline with.

Importing this package loads nothing heavy. `emotion_ops.demo.faces` needs NumPy and Pillow,
`emotion_ops.demo.dataset` also needs PyArrow, and the files in `MODEL_DIR` are read by
Transformers.
"""

import pathlib

MODEL_DIR = pathlib.Path(__file__).parent / "model"
"""Folder of the bundled demonstration model, in the files `from_pretrained` reads."""
