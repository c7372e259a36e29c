"""Media files in; float32 waveforms, video frames and face crops out."""
