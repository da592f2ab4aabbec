"""Decoding in watched child processes: a decoder that crashes, hangs or fills memory fails its own row only."""
