"""Checks across lists of images that no single list can make."""

from __future__ import annotations

from softdet.data.index import Index
from softdet.errors import DataError


def require_disjoint(validation: Index, training: Index, key: str, evaluated_key: str = "data.valid") -> None:
    """Make sure that no image is both trained on and evaluated on, by its file.

    Args:
        validation: the images to evaluate on.
        training: the images to train on, or to choose a model by.
        key: the config key of the latter, for the message.
        evaluated_key: the config key of the former.

    Raises:
        DataError: naming the shared files.
    """
    evaluated = {record.path.resolve() for record in validation.images}
    shared = [record.path for record in training.images if record.path.resolve() in evaluated]
    if shared:
        listed = ", ".join(path.name for path in shared[:5])
        raise DataError(
            f"{len(shared)} images of {key} ({training.source}) are also in {evaluated_key} "
            f"({validation.source}): {listed}. "
            "A score on images that a model was trained on or chosen by says nothing; take them out of one of the two."
        )
