"""The version of this package: of pyproject.toml, of the lineage and of ``--version``."""

__version__ = "0.1.0"
