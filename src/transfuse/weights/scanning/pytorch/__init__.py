"""What torch writes: zip, legacy and tar files, and TorchScript."""
