"""An ONNX classifier from elsewhere -> one that keeps the contract."""
