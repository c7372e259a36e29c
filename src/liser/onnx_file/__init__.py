"""ONNX files as bytes, read and edited with the standard library and NumPy alone."""
