"""A checkpoint → a network on a device: uint8 images in, probabilities out."""
