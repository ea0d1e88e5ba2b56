"""Calls side by side, through Ray Tune."""
