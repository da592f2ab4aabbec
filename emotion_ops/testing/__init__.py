"""For the tests of those who build on this package: a real network and real images, both made on the spot.

    model = save_tiny_model(tmp_path / "model")          # milliseconds a batch, no download, the same each time
    table = faces_table(14)                              # drawn faces, two of each emotion
    enriched = ClassifyEmotions(model=str(model))(table)

The tiny network has the default model's labels, columns and metadata, and weights from a seed: its answers differ
from picture to picture and mean nothing. ``model="demo"`` is there for answers that mean something.
"""

from emotion_ops.testing.faces import faces_table
from emotion_ops.testing.models import save_tiny_model

__all__ = ["faces_table", "save_tiny_model"]
