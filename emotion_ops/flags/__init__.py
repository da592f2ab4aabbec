"""Options as flat names: what command lines, Airflow and JSON give, for any operator and for ``enrich_dataset``.

Everything is read from the signatures, types and docstrings of the code. Nothing is listed here.
"""
