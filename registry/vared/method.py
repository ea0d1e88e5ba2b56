"""VA-RED2 as a method of the harness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, model_validator

from ..interfaces import Method, Prepared
from .gating import NOT_NAMED, Gating, gating_of
from .presets import PRESETS, with_preset
from .settings import TrainingSettings, VaRedSettings

if TYPE_CHECKING:
    from torch import Tensor

    from .surgery import Surgery
    from .times import MachineTimes


def _with_presets(schema: dict[str, Any]) -> None:
    schema["properties"]["preset"] = {
        "enum": list(PRESETS),
        "description": "settings that belong together; what is set beside it wins",
    }


class VaRedMethodSettings(VaRedSettings):
    """Everything `budgets.yaml` may set about VA-RED2.

    `preset` may stand beside the settings; it is resolved here, and no part of what comes out.
    """

    model_config = ConfigDict(json_schema_extra=_with_presets)

    training: TrainingSettings = Field(TrainingSettings(), description="how gates are trained")

    @model_validator(mode="before")
    @classmethod
    def _resolve_preset(cls, settings: Any) -> Any:
        return with_preset(settings)


class _VaRed(Method):
    """Gates in front of every convolution, trained jointly with the weights towards a budget."""

    name = "vared"
    takes_budget = True
    has_gates = True
    settings_type = VaRedMethodSettings

    def __init__(self, times: MachineTimes | None = None) -> None:
        self.times = times

    def needs_times(self, settings: Any) -> bool:
        """Whether times decide where gates stand, or are what the loss is of."""
        chosen: VaRedMethodSettings = settings
        return chosen.gate_layers == "auto" or chosen.training.cost == "time"

    def with_times(self, times: MachineTimes) -> Method:
        """Return the method for a machine of these times."""
        return _VaRed(times)

    def prepare(
        self, config: dict[str, Any], example: Tensor, budget: float | None, settings: Any
    ) -> Prepared:
        """Build the recognizer, install gates, and bring the hook that steers to the budget.

        Raises:
            ValueError: No convolution of the recognizer can be made dynamic, or times are needed
                that there are not.
        """
        from ..recognizers.build import build
        from .controller import BudgetHook
        from .recognizer import adapt
        from .times import with_gates_placed

        recognizer = build(config, example)
        placed = with_gates_placed(settings, self.times)
        surgery = adapt(recognizer, placed, example, settings.training.loss, self.times)
        return Prepared(
            recognizer,
            hooks=[BudgetHook(budget, settings.training.control)],
            paramwise=_paramwise(settings.training),
            notes=_notes(surgery, gating_of(settings, self.times)),
        )


def _paramwise(training: TrainingSettings) -> dict[str, dict[str, float]]:
    """Of the keys that a parameter's name contains, the longest counts."""
    lr_mult = training.gate_lr
    gates = {"lr_mult": lr_mult, "decay_mult": 0.0}
    return {
        "vared": gates,
        "gate.excite.weight": gates | {"lr_mult": lr_mult * training.reaction_lr},
        "gate.excite.bias": gates | {"lr_mult": lr_mult * training.bias_lr},
    }


def _notes(surgery: Surgery, gating: Gating) -> list[str]:
    left = {
        name: gating.left.get(name, reason) if reason == NOT_NAMED else reason
        for name, reason in surgery.left.items()
    }
    notes = [f"{len(surgery.converted)} convolutions got a gate", *gating.notes]
    return notes + [f"{name} stays dense: {reason}" for name, reason in left.items()]


VARED = _VaRed()
