"""Media: a file in, float32 waveforms, frames at a stated rate and face crops out."""
