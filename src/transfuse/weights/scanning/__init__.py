"""Whether a file from outside may be opened: judged by its bytes, never opened by the library that it is meant for."""
