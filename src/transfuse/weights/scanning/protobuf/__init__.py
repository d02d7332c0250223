"""Messages of protocol buffers, walked without a schema: ONNX, TensorFlow, Core ML, SentencePiece."""
