"""Pictures: what they lie in, decoding, twins, augmentation."""
