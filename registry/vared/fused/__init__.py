"""What follows a convolution in training, in few passes over memory and few calls. Ours.

Compiled for few threads, float32 and contiguous maps; PyTorch's own operations do it elsewhere.
"""

from .layer import decide_and_blend, is_fused, is_fused_gate, normalise_and_blend

__all__ = ["decide_and_blend", "is_fused", "is_fused_gate", "normalise_and_blend"]
