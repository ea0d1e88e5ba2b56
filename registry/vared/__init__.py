"""VA-RED2: gates that decide, clip by clip, how many frames and channels a convolution computes.

To train it from a plain MMAction2 config, import `plugin` and change the recognizer's type::

    custom_imports = dict(imports=["registry.vared.plugin"])
    model = dict(type="AdaptiveRecognizer3D", vared=dict(num_frames=8, size=224), ...)
    custom_hooks = [dict(type="BudgetHook", budget=0.7)]

Every docstring in this package says of its piece whether it is *stated* in the paper's abstract
and introduction, *recalled* (two independent memories of the paper agree, not re-read) or *ours*.
"""
