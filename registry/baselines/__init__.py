"""Baselines: what an adaptive recognizer must beat at the same multiply-adds."""
