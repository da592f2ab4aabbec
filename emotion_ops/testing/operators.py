"""A small table operator: the example of docs/your-own-operator.md, and an operator for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from emotion_ops.operators.image_operator import ImageOperator
from emotion_ops.operators.rows import Row
from emotion_ops.options import option, text


@dataclass(frozen=True)
class ImageStatistics(ImageOperator):
    """Append the mean brightness of images, from 0 (black) to 1 (white), and their size in pixels.

    Args:
        image: The column of images.
    """

    image: str = option(text, "image")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The image column."""
        return (self.image,)

    def output_fields(self) -> list[pa.Field]:
        """Brightness, width, height, and why a row failed."""
        types = {"brightness": pa.float32(), "width": pa.int32(), "height": pa.int32(), "image_error": pa.string()}
        return [pa.field(name, type_) for name, type_ in types.items()]

    def prepare(self, row: Row) -> tuple[float, int, int]:
        """Decode the image and measure it, in a thread."""
        pixels = row.image(self.image)
        return float(pixels.mean()) / 255, pixels.shape[1], pixels.shape[0]

    def compute(self, items: Sequence[tuple[float, int, int]]) -> Sequence[tuple[float, int, int]]:
        """Where an operator with a model would run it on a batch; here everything is computed already."""
        return items
