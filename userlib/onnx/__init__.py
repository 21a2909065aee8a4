"""A trained pair of encoders as ONNX: exported with torch, used with onnxruntime alone. Needs the extra `onnx`."""
