"""Where a run is, and how often it looks up from its work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from softdet.data.images import MAX_UNREADABLE
from softdet.errors import DataError

# So many unreadable images stop no run, whatever their share.
_TOLERATED = 3


@dataclass
class TrainState:
    """Where a run is.

    Attributes:
        step: the next step.
        best_ap: the highest validation AP so far; minus infinity before the first.
        images_seen: images served so far, over all ranks.
        images_unreadable: of which so many could not be read.
        skipped_steps: steps whose gradients weren't finite, or whose student its teacher refused.
        pieces: into how many each micro-batch is cut, since the memory didn't hold it whole.
    """

    step: int = 0
    best_ap: float = -math.inf
    images_seen: int = 0
    images_unreadable: int = 0
    skipped_steps: int = 0
    pieces: int = 1

    def count_images(self, num_seen: int, num_unreadable: int, failures: Sequence[str]) -> None:
        """Take the images of a step into account.

        Args:
            num_seen: over all ranks.
            num_unreadable: likewise.
            failures: a line for each of them.

        Raises:
            DataError: so many can't be read that the run would not be worth its name.
        """
        self.images_seen += num_seen
        self.images_unreadable += num_unreadable
        if self.images_unreadable > max(_TOLERATED, MAX_UNREADABLE * self.images_seen):
            raise DataError(
                f"{self.images_unreadable} of {self.images_seen} images served so far can't be read, more than "
                f"{MAX_UNREADABLE:.0%}. The last: {failures[-1]}"
            )


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often things happen, in steps.

    Attributes:
        log: between rows of the metrics.
        evaluate: between evaluations; there is one more exactly at the end of the burn-in.
        checkpoint: between checkpoints.
        burn_in: how long that is, in the control too.
    """

    log: int
    evaluate: int
    checkpoint: int
    burn_in: int
