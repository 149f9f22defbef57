"""ONNX files for ONNX Runtime: torch's exporter draws the graph, layers are put in and read back here."""
