"""Compression: pruning, recovery by distillation, 8-bit integers, and what each of them costs."""
