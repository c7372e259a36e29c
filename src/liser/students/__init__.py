"""Students: lightweight audio-only emotion recognisers, and the front end that they hear by."""
