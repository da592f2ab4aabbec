"""A dataset in → the same dataset with the columns of a table operator appended."""
