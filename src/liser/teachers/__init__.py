"""Teachers: large models, or tables of their outputs, that observe each clip once."""
