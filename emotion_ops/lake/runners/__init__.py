"""Where the row groups of a job are computed."""
