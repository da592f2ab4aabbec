"""An upright RGB picture → the faces in it → square crops for the network."""
