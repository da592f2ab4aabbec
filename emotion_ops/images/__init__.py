"""An image cell of a table → the RGB pixels of its image, at the size that a network takes."""
