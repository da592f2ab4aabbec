"""A table operator that reads images: the options that all of these share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pyarrow as pa

from emotion_ops.images.cells import image_kind
from emotion_ops.images.decoding import Decoding
from emotion_ops.images.limits import Limits
from emotion_ops.images.meter import Meter
from emotion_ops.io.access import Access
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.resources import Cache
from emotion_ops.operators.run import Run
from emotion_ops.operators.take_rows import find_column
from emotion_ops.options import option


@dataclass(frozen=True)
class ImageOperator(TableOperator):
    """Append columns to tables of images, which ``prepare`` loads by ``row.image``.

    Args:
        access: What paths in the table may reach; a path is the folder that they start from.
        limits: What one image may cost.
        decoding: How images are decoded; a text is the mode.
        cache: Results that are reused for equal images; a number is how many.
    """

    _: dataclasses.KW_ONLY
    access: Access = option(Access.check, Access())
    limits: Limits = option(Limits.check, Limits())
    decoding: Decoding = option(Decoding.check, Decoding())
    cache: Cache = option(Cache.check, Cache(), changes_values=False)

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """See ``TableOperator.image_inputs``; all of them, unless a subclass has further inputs."""
        return self.inputs

    @property
    def is_cacheable(self) -> bool:
        """Whether the image is the only input: equal images then have equal results."""
        return len(self.inputs) == 1 == len(self.image_inputs)

    @property
    def cached_rows(self) -> int:
        """See ``Cache``."""
        return self.cache.rows

    def check_schema(self, schema: pa.Schema) -> None:
        """See ``TableOperator.check_schema``; an image input must hold images or paths."""
        super().check_schema(schema)
        for name in self.image_inputs:
            image_kind(schema.field(find_column(name, schema.names)).type, name)

    def new_run(self, meter: Meter | None = None) -> Run:
        """See ``TableOperator.new_run``; images are loaded by this operator's options."""
        return Run(self.resources, self.access, self.limits, self.decoding, meter)
