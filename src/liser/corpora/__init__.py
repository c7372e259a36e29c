"""Corpora: who said what, in which file, with which label, and which split of speakers."""
