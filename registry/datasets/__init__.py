"""Data sets: clips, and how they come to a recognizer."""
