"""Unlabelled talking-face video and a few labels in, a tiny speech emotion recogniser out."""

__version__ = "0.1.0"
