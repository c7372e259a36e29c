"""Targets: the teachers' outputs of each clip, computed once, stored and fused."""
