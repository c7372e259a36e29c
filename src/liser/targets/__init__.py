"""What the teachers say of each clip: computed once, stored, fused."""
