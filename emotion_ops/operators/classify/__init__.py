"""The table operator that classifies facial emotions."""
