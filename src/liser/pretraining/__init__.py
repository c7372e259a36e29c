"""A backbone from a speech encoder, without labels."""
