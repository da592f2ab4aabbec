"""What a job did: as a value, as JSON and as a page; and previews of rows."""
