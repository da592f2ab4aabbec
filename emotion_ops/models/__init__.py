"""Classification networks: a model's name → a network that turns uint8 images into probabilities."""
