"""Published: the claims of the paper, and all that `harness reproduce` lists."""

from __future__ import annotations

from .citation import MARGIN, PAPER, SAVING, SPREAD, WINDOW, NotHere, OnSweep, Published
from .peers import PEERS
from .zoo import ZOO

CLAIMS: tuple[Published, ...] = (
    Published(
        "paper-saving",
        "20 to 40 % fewer FLOPs without loss of accuracy",
        f"{PAPER}, abstract",
        "stated",
        "the paper: against state-of-the-art methods on Mini-Kinetics-200, Kinetics-400 and "
        "Moments-in-Time; here: against the dense recognizer, same recipe and seeds, at the scale "
        "of the sweep",
        f"saved 20 to 40 % (a budget of 0.6 may save {100 * (SAVING[1] + WINDOW):g} %); the 95 % "
        f"interval of the paired difference above -{100 * MARGIN:g} points, and sign flips say so "
        "at 0.05, one-sided, adjusted after Holm within the data set and recognizer",
        OnSweep("saving-without-loss"),
    ),
    Published(
        "paper-input-dependent",
        "How much is computed depends on the clip",
        f"{PAPER}, abstract",
        "stated",
        "executed multiply-adds over the validation clips, one trained recognizer at a time",
        f"at least {100 * SPREAD:g} % of the dense multiply-adds between the 5th and the 95th "
        "percentile, in the median over seeds",
        OnSweep("depends-on-the-clip"),
    ),
    Published(
        "paper-static-videos",
        "Still videos have more redundancy in time",
        f"{PAPER}, introduction",
        "stated",
        "share of frames computed, mean over layers, against the motion of the clip, one trained "
        "recognizer at a time",
        "rank correlation above 0 with its 95 % interval over clips, in every seed",
        OnSweep("still-saves-frames"),
    ),
    Published(
        "paper-large-objects",
        "Videos of a single large moving object have more redundancy in channels",
        f"{PAPER}, introduction",
        "stated",
        "saving in channels against the size and number of moving objects",
        "rank correlation above 0, 95 % interval",
        NotHere("no data set here says how large and how many its moving objects are"),
    ),
    Published(
        "paper-localization",
        "The saving carries over to spatio-temporal localization on J-HMDB-21",
        f"{PAPER}, introduction",
        "stated",
        "the paper's",
        "not fixed",
        NotHere("no localization here: recognizers of whole clips only"),
    ),
    Published(
        "recalled-search-space-3",
        "Search space 3 saves more than 2, and costs accuracy",
        f"{PAPER}, from memory",
        "recalled",
        "the same recognizer and data set with both search spaces",
        "not fixed",
        NotHere("recalled without figures, so there is nothing to hold a measurement against"),
    ),
    Published(
        "recalled-cost-of-training",
        "The cost of training does not grow with the search space",
        f"{PAPER}, from memory",
        "recalled",
        "time of a training step with either search space",
        "not fixed",
        NotHere("recalled without figures, so there is nothing to hold a measurement against"),
    ),
)
"""What the paper states, and what is recalled of it."""

PUBLISHED = (*CLAIMS, *ZOO, *PEERS)
"""All of them, in the order in which they are shown."""
