"""Long recordings in; utterances, and the faces that talk in them, out."""
