"""What `benchmarks/compare.py` and `benchmarks/gpu.py` are made of."""
