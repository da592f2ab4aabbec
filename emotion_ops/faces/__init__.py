"""An upright RGB image → the faces in it → square crops for the network."""
