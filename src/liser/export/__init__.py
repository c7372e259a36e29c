"""A student as a bundle: one ONNX file and its card."""
