"""Compression: pruning, recovery by distillation, 8-bit integers, and the cost of each step."""
