"""Export of a student as a bundle: one ONNX file and its model card."""
