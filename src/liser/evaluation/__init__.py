"""How good a model is, on people that it never met."""
