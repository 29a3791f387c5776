"""What a detector is made of, and what its file says of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from softdet.config import Config, dump_config
from softdet.data.index import Index
from softdet.errors import WeightsError
from softdet.evaluation.detector import DetectorCard, read_card
from softdet.files import digest

_ANCHORS = ("anchor_sizes", "anchor_octaves", "anchor_ratios")


def make_card(config: Config, index: Index) -> DetectorCard:
    """What the result says of itself."""
    taken = [category_id for category_id in index.category_ids if isinstance(category_id, int)]
    # A class of the list that no labeled image has yet still needs an id of its own.
    free = iter(range(max(taken, default=0) + 1, max(taken, default=0) + 1 + len(index.class_names)))
    return DetectorCard(
        architecture=architecture_of(config),
        class_names=index.class_names,
        class_ids=tuple(next(free) if category_id is None else category_id for category_id in index.category_ids),
        image_size=config.params.image_size,
        resize=config.params.resize,
        score_threshold=config.inference.cls_th,
        iou_threshold=config.inference.nms_th,
        top_k=config.inference.top_k,
        digests=_digests(config),
    )


def _digests(config: Config) -> dict[str, str]:
    data = config.data
    lists = {"train": data.train, "valid": data.valid, "unlabeled": data.unlabeled, "test": data.test}
    of_data = {name: digest(path) for name, path in lists.items() if path and path.is_file()}
    # The same bytes, so the same digest, as config.yaml in the run folder.
    return of_data | {"config": hashlib.sha256(dump_config(config).encode()).hexdigest()}


def architecture_of(config: Config) -> dict[str, Any]:
    """The arguments of `build_retinanet` that a detector's file repeats; all but the classes."""
    starts_trained = _starts_trained(config)
    stages, norms = config.basenet.frozen_stages, config.basenet.frozen_batchnorm
    return {
        "arch": config.basenet.arch,
        "num_frozen_stages": (2 if starts_trained else 0) if stages == "auto" else stages,
        "freeze_batchnorm": starts_trained if norms == "auto" else norms,
        "fpn_channels": config.model.fpn_channels,
        "head_convs": config.model.head_convs,
        "anchor_sizes": config.model.anchor_sizes,
        "anchor_octaves": config.model.anchor_octaves,
        "anchor_ratios": config.model.anchor_ratios,
    }


def require_same_anchors(config: Config, start: Path) -> None:
    """A detector's box outputs are offsets from its own anchors: from others they would be noise.

    Raises:
        WeightsError: the detector to start from has others than the config gives.
    """
    own, theirs = (
        {key: ",".join(f"{value:.4g}" for value in architecture[key]) for key in _ANCHORS}
        for architecture in (architecture_of(config), read_card(start).architecture)
    )
    unlike = [key for key in _ANCHORS if own[key] != theirs[key]]
    if unlike:
        wanted = " ".join(f"model.{key}=[{theirs[key]}]" for key in unlike)
        found = "; ".join(f"{key} {own[key]}" for key in unlike)
        raise WeightsError(
            f"model.model_path: {start} was trained with other anchors than the config's ({found}), so its boxes would "
            f"start from noise. Give {wanted}, or take basenet.pretrained alone."
        )


def _starts_trained(config: Config) -> bool:
    return bool(config.basenet.pretrained) or config.model.model_path is not None


def pretrained_of(config: Config) -> bool | Path:
    """Where the backbone's weights come from: a file, the model hub, or nowhere."""
    # A whole detector brings its own backbone: nothing to download.
    return False if config.model.model_path else config.basenet.pretrained
