"""The inference engine of VA-RED2: what is gated off is not run, and not rebuilt either."""

from .engine import Engine, accelerate

__all__ = ["Engine", "accelerate"]
