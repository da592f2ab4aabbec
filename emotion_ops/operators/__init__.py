"""Arrow record batches in → Arrow record batches out, with the emotion columns appended."""
