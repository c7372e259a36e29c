"""Untrusted text, made harmless for terminals, pages and spreadsheets."""
