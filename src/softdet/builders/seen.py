"""Images that a run has seen before it is judged on them."""

from __future__ import annotations

from pathlib import Path

from softdet.builders.settings import config_of
from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.data.sources.overlap import unseen
from softdet.data.sources.parts import Tally
from softdet.errors import SoftdetError
from softdet.evaluation.run import RunFolder


def describe_seen(run: RunFolder, judged_on: Path, root: Path | None, what: str, *, is_test: bool = False) -> list[str]:
    """Say of how many images that a run is judged on it was trained, or chose its weights.

    Args:
        run: of which the config is read again.
        judged_on: COCO ground truth.
        root: of its images.
        what: those images in words, such as "test images".
        is_test: images that chose the run's best weights have been seen, too.

    Returns:
        A sentence for each use; none if nothing was seen, or if the run's own images are gone by now.
    """
    try:
        config = config_of(run)
        data = config.data
        trained_on = [load_labeled(data.train, root=data.root)]
        if data.unlabeled and config.soft_teacher.enabled:
            trained_on.append(load_unlabeled(data.unlabeled, data.root))
        used = {"was trained on": trained_on}
        if is_test:
            used["chose its best weights by"] = [load_labeled(data.valid, root=data.root)]
        judged = load_labeled(judged_on, root=root)
    except SoftdetError:
        return []
    files = [record.path for record in judged.images if record.path.is_file()]
    sentences = []
    for how, indexes in used.items():
        known = [record.path for index in indexes for record in index.images if record.path.is_file()]
        if seen := len(files) - len(unseen(files, known, Tally())):
            sentences.append(f"{run.path} {how} {seen} of the {len(files)} {what}, so its numbers are too good")
    return sentences
