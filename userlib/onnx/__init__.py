"""A trained pair of encoders as ONNX: exported with torch, searched with onnxruntime alone. Extra `onnx`."""
