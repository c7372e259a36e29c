"""Students: lightweight audio-only emotion recognisers, and their front end."""
