"""Dataframes of any kind, for ``df.pipe``: the same kind of frame comes back.

pandas keeps its index, its dtypes and its object columns, because only the input columns are read. Polars, Modin, cuDF
and others go through narwhals. Any other object with Arrow's C stream comes back as a PyArrow table.
"""
