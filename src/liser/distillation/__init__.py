"""Distillation: from targets and a few labels to a student."""
