"""Teachers: large models (or tables of what they said) that look at a clip once."""
