"""Recognizers: MMAction2's own configs at two scales, and how one is built and made narrower."""
