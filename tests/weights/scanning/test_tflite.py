"""TensorFlow Lite: offsets and sizes that lead out of the file, and operators of one's own."""

import struct

import pytest


@pytest.mark.parametrize(
    "custom, verdict", [("", "accept"), ("TFLite_Detection_PostProcess", "accept"), ("Mine", "ask")]
)
def test_operators(judged, made, custom: str, verdict: str) -> None:
    assert judged("m.tflite", made.tflite(custom)).verdict == verdict


def test_tensors_are_as_large_as_their_buffers(judged, made) -> None:
    assert judged("m.tflite", made.tflite(shape=(3,))).findings[0].rule == "tflite-tensor"
    assert judged("m.tflite", made.tflite(shape=(-2,))).findings[0].rule == "tflite-tensor"
    assert judged("m.tflite", made.tflite(shape=(7,), data=b"")).verdict == "accept"  # computed, not stored


def test_places_out_of_the_file_are_refused(judged, made) -> None:
    assert "does not have" in judged("m.tflite", made.tflite(node=5)).findings[0].reason
    for offset in (2**31, 2**32 - 1, 5000):
        data = bytearray(made.tflite())
        struct.pack_into("<I", data, 0, offset)
        assert "out of the file" in judged("m.tflite", bytes(data)).findings[0].reason
