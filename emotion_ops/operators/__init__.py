"""Table operators: record batches in → the same record batches with columns appended."""
