"""What a recording may be: a small file can state anything, and memory is not endless."""

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
"""Sample rates of sound, Hz."""

MAX_SOUND_BYTES = 1 << 31
"""What one clip's sound may take in memory: 3 hours at 48 kHz, 9 at 16 kHz."""

MAX_SILENCE_S = 24 * 3600.0
"""How much silence the time stamps of one file may put between its sounds."""

MAX_PIXELS = 1 << 26
"""Of one picture: twice as many as 8K has."""

MAX_FRAME_BYTES = 1 << 30
"""What one clip's frames may take in memory: about 3 minutes of 640×480 at 5 frames a second."""
