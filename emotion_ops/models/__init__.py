"""A model's name → a network that turns uint8 pixels into probabilities."""
