"""What a plain MMAction2 config imports: puts the recognizers and the hook into MMEngine's tables.

Apart from the package itself, whose settings can be read without waiting for torch.
"""

from .controller import BudgetHook
from .recognizer import AdaptiveRecognizer2D, AdaptiveRecognizer3D

__all__ = ["AdaptiveRecognizer2D", "AdaptiveRecognizer3D", "BudgetHook"]
