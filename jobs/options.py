"""What can be set for each backend: frozen models, checked once where the settings come in."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from typing_extensions import Self


class Options(BaseModel):
    """Base of all options: unknown fields are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InlineOptions(Options):
    """The inline backend has nothing to set."""


class AshaOptions(Options):
    """Stop weak calls early by asynchronous successive halving (arXiv:1810.05934).

    Time is counted in reports. At `grace_period`, `grace_period * reduction_factor`, ... reports a
    call goes on only if its metric is among the best `1 / reduction_factor` that its group showed
    at that point so far. From `max_t` on no call is stopped, so the survivors return their value.
    """

    metric: str = Field(min_length=1, description="Name of the reported number to judge by.")
    mode: Literal["min", "max"] = Field(description="Whether less or more of it is better.")
    max_t: PositiveInt = Field(description="Reports a call makes when it runs to its end.")
    grace_period: PositiveInt = Field(default=1, description="Reports before the first judgement.")
    reduction_factor: float = Field(
        default=4.0,
        gt=1,
        description="Ratio between judgements; also the inverse of the share kept.",
    )

    @model_validator(mode="after")
    def _grace_within_max(self) -> Self:
        if self.grace_period > self.max_t:
            raise ValueError(
                f"`grace_period` must be <= `max_t` ({self.max_t}), but got {self.grace_period}"
            )
        return self


class RayOptions(Options):
    """Where Ray runs, how many calls at once, and which of them to stop early."""

    address: str | None = Field(
        default=None,
        min_length=1,
        description="Running cluster to join: 'auto' or 'host:port'. Without it, Ray starts on "
        "this machine and ends with the executor.",
    )
    num_cpus: PositiveInt | None = Field(
        default=None,
        description="Processor cores that Ray hands out here; by default all it finds.",
    )
    num_gpus: int | None = Field(
        default=None,
        ge=0,
        description="Accelerators that Ray hands out here; by default all it finds.",
    )
    nodes: PositiveInt | None = Field(
        default=None,
        description="Nodes of the SLURM allocation to spread over; Ray's head and workers are "
        "started there, and end with the executor.",
    )
    join_timeout_s: PositiveInt = Field(
        default=120, description="Seconds that Ray may take to come up on all `nodes`."
    )
    setup: tuple[str, ...] = Field(
        default=(),
        description="Shell lines before the command in the job that a sweep outside of any "
        "allocation submits for its `nodes`.",
    )
    sbatch: dict[str, str | int | bool] = Field(
        default={}, description="Options of sbatch for that job, without the dashes."
    )
    max_concurrent: PositiveInt | None = Field(
        default=None, description="Calls at once; by default as many as their resources allow."
    )
    asha: AshaOptions | None = Field(
        default=None,
        description="Stop weak calls early, within each group; by default none is stopped.",
    )

    @model_validator(mode="after")
    def _cluster_knows_its_size(self) -> Self:
        if self.address and (self.num_cpus is not None or self.num_gpus is not None):
            raise ValueError("`num_cpus` and `num_gpus` belong to the cluster at `address`")
        return self

    @model_validator(mode="after")
    def _allocation_is_the_cluster(self) -> Self:
        if self.nodes is None:
            if self.setup or self.sbatch:
                raise ValueError("`setup` and `sbatch` are for the job of `nodes`: say how many")
            return self
        if self.address:
            raise ValueError(
                "`nodes` starts a cluster and `address` joins one: give one of the two"
            )
        if self.num_cpus is not None or self.num_gpus is not None:
            raise ValueError("`num_cpus` and `num_gpus` belong to the allocation of `nodes`")
        return self


class SlurmOptions(Options):
    """Where on a cluster jobs run, how many at once, and what is done before they start.

    How much one job gets stands under `resources`.
    """

    partition: str | None = Field(default=None, description="Partition; by default the cluster's.")
    account: str | None = Field(default=None, description="Account that pays.")
    qos: str | None = Field(default=None, description="Quality of service.")
    constraint: str | None = Field(default=None, description="Features that a node must have.")
    nodelist: str | None = Field(default=None, description="Use these nodes only.")
    exclude: str | None = Field(default=None, description="Never use these nodes.")
    max_concurrent: PositiveInt | None = Field(
        default=None, description="Jobs at once; by default as many as the cluster grants."
    )
    max_array_size: PositiveInt | None = Field(
        default=None, description="Tasks of one array at most; by default what the cluster allows."
    )
    setup: tuple[str, ...] = Field(
        default=(), description="Shell lines before the job, such as 'module load cuda/12.4'."
    )
    container: str | None = Field(
        default=None,
        min_length=1,
        description="Command that starts Python in a container: 'apptainer exec --nv image.sif'.",
    )
    python: str | None = Field(
        default=None,
        min_length=1,
        description="Python on the nodes; by default the one that submits, or `python3` in a "
        "container.",
    )
    signal_s: PositiveInt = Field(
        default=90, description="Seconds before the time limit at which a job saves and requeues."
    )
    sbatch: dict[str, str | int | bool] = Field(
        default={}, description="Any other option of sbatch, without the dashes."
    )
