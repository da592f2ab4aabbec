"""A model's name → a network that turns uint8 pixels into probabilities."""

import os

# Read by OpenMP when torch is first imported. Threads that wait for work by spinning take the processors from
# the threads that decode.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
