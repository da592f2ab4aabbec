"""A Parquet dataset in → the same dataset with the emotion columns out."""
