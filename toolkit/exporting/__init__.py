"""A bundle or a `.keras` file -> ONNX, TFLite, SavedModel; each is verified against the Keras model, then kept."""
