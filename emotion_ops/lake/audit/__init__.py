"""What stands in a destination, looked at: status, verify, diff and clean."""
