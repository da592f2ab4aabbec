"""What a job did, told: as a value, as JSON, and as a page."""
