"""Where the rows of a job come from."""
