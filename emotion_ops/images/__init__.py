"""A table's cell → encoded bytes → RGB uint8 at the size that the model takes."""
