"""A model's answer fitted anew to a few labelled clips, with NumPy alone."""
