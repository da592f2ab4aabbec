"""Draws faces that show the seven emotions, each from a seed.

The faces train the demo model and are the images of benchmarks and tests. The wheel does not contain this package:
it contains 21 of the faces (`emotion_ops.demo`).
"""

from drawn_faces.faces import draw_face, encode_face
from drawn_faces.table import faces_table

__all__ = ["draw_face", "encode_face", "faces_table"]
