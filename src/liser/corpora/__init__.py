"""Corpora: utterances with their speakers, files and labels, and splits of speakers."""
