"""What a budgets.yaml asks for, read and checked, with the folders it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from results.store import Store

from .budgets import BudgetsError, Sweep, load
from .concerns import concerns
from .cost import Cost, estimate, experience
from .expand import Manifests, manifests, trials_of
from .publish import probe, tracking_uri
from .sizes import dense_size
from .sweep import Settings
from .trial import Trial


@dataclass(frozen=True)
class Request:
    """A budgets.yaml read, and the trials it stands for."""

    sweep: Sweep
    trials: tuple[Trial, ...]
    found: Manifests
    settings: Settings

    @property
    def store(self) -> Store:
        """The records of the runs folder."""
        return Store(self.settings.runs)

    @property
    def uri(self) -> str | None:
        """Where MLflow keeps the mirror."""
        return _uri(self.sweep, self.store)

    @property
    def concerns(self) -> list[str]:
        """What a person should know of the data."""
        return concerns(self.trials, self.found)


def read_request(
    path: Path, settings: Settings, executor: str | None = None, will_run: bool = False
) -> Request:
    """Return what a file asks for.

    Args:
        path: A budgets.yaml.
        settings: Paths.
        executor: Takes the place of the file's.
        will_run: Try the places that results go to before the clips are looked at, since the
            first look at them decodes every one.

    Raises:
        BudgetsError: All mistakes in it.
        StoreError, TrackingError: It will run, but results could not be kept.
    """
    sweep = load(path, executor)
    if will_run:
        try_places(sweep, settings)
    try:
        found = manifests(sweep, settings.data_root)
        return Request(sweep, tuple(trials_of(sweep, found)), found, settings)
    except BudgetsError as error:
        raise BudgetsError(str(path), error.problems) from None


def cost_of(request: Request, trials: Sequence[Trial]) -> Cost:
    """Return what trials of a request will cost."""
    num_clips = {label: (x.num_train, x.num_val) for label, x in request.found.items()}
    keeps_weights = request.sweep.keeps_weights
    known = experience(request.store)
    return estimate(trials, num_clips, known, dense_size, keeps_weights=keeps_weights)


def try_places(sweep: Sweep, settings: Settings) -> None:
    """Try where results will go.

    Raises:
        StoreError, TrackingError: They could not be kept.
    """
    store = Store(settings.runs)
    store.check_writable()
    probe(_uri(sweep, store))


def _uri(sweep: Sweep, store: Store) -> str | None:
    return tracking_uri(sweep.tracking.mlflow, store.sweep_folder(sweep.name))
