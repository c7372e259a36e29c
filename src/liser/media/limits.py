"""Limits on recordings: a small file can claim any size, and memory is finite."""

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
"""Allowed sample rates, in Hz."""

MAX_SOUND_BYTES = 1 << 31
"""The most memory for one clip's audio: 3 hours at 48 kHz, 9 at 16 kHz."""

MAX_SILENCE_S = 24 * 3600.0
"""The most silence that one file's time stamps may insert."""

MAX_PIXELS = 1 << 26
"""The most pixels of one image: twice as many as 8K has."""

MAX_FRAME_BYTES = 1 << 30
"""The most memory for one clip's frames: about 3 minutes of 640×480 at 5 frames a second."""
