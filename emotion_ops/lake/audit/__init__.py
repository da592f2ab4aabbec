"""Look at an existing destination: status, verify, diff and clean."""
