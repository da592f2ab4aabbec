"""The parts of `benchmarks/compare.py` and `benchmarks/gpu.py`."""
