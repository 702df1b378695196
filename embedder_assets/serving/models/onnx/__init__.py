"""ONNX graphs: written from weights or exported by torch, quantized, and run in a CPU session."""
