"""The command line: arguments → one call → text, JSON or a picture."""
