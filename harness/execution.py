"""The part of budgets.yaml that cannot change a result: where trials run, who is told."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from jobs import backends

from .problems import Strict, checked


class ExecutorChoice(Strict):
    """Where trials run: a name and the options of that backend."""

    name: str = "inline"
    options: dict[str, Any] = Field(default={}, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"name": data}
        if not isinstance(data, dict):
            return data
        options = {str(key): value for key, value in data.items() if key != "name"}
        return {key: data[key] for key in ("name",) if key in data} | {"options": options}

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            backends.options_type(name)
        except LookupError as error:  # pydantic collects ValueError only
            raise ValueError(str(error)) from None
        return name

    @field_validator("options")
    @classmethod
    def _fill_in(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "name" not in info.data:
            return options
        model = backends.options_type(info.data["name"])
        return checked(model, options, also=["name"]).model_dump(mode="json")


class Needs(Strict):
    """What one trial needs on a worker; `cpus` is also its number of threads."""

    cpus: int = Field(default=1, ge=1)
    gpus: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    memory_gb: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    time_min: int | None = Field(default=None, ge=1)
    checkpoint_s: float = Field(
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds of training that an interruption without warning may cost",
    )


def _word(uri: Any) -> Any:
    # YAML 1.1 reads a bare `off` as false
    return {False: "off", True: "auto"}[uri] if isinstance(uri, bool) else uri


class Tracking(Strict):
    """Which MLflow server mirrors the records."""

    mlflow: Annotated[str, BeforeValidator(_word), Field(min_length=1)] = Field(
        default="auto",
        description="auto: MLFLOW_TRACKING_URI, else mlflow.db in the sweep's folder; off; a URI",
    )
