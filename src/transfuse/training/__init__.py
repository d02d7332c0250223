"""The one gradient loop."""
