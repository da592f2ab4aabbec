"""Helpers for the tests of your own project: a real network and real images, without a download.

    model = save_tiny_model(tmp_path / "model")
    table = faces_table(14)  # two faces of each emotion
    enriched = ClassifyEmotions(model=str(model))(table)

The tiny network has the labels, columns and metadata of the default model, and takes milliseconds for a batch. Its
weights are random, from a seed: its probabilities differ from image to image and have no meaning. For labels that
have a meaning use ``model="demo"``. ``ImageStatistics`` is a table operator without a model, registered as
``image_statistics``; docs/your-own-operator.md explains it.
"""

from emotion_ops.testing.faces import faces_table
from emotion_ops.testing.models import save_tiny_model
from emotion_ops.testing.operators import ImageStatistics

__all__ = ["ImageStatistics", "faces_table", "save_tiny_model"]
