"""Pretraining: a backbone from a speech encoder, without labels."""
