"""Where the outputs of a job go."""
