"""The result: one plain detector in one safetensors file, with all that inference needs inside."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from softdet.data.images import Resize
from softdet.errors import WeightsError
from softdet.files import whole_file
from softdet.models.retinanet import RetinaNet, build_retinanet

FORMAT_VERSION = 1
_METADATA_KEY = "softdet"
_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True, slots=True)
class DetectorCard:
    """What a detector's file says beside its weights.

    Attributes:
        architecture: the arguments of `build_retinanet`, without weights and freezing.
        class_names: (K,) by label.
        class_ids: (K,) the user's category ids.
        image_size: rows and columns of the canvas.
        resize: how an image gets onto it.
        score_threshold: the lowest score of a detection, for mAP.
        iou_threshold: of the suppression.
        top_k: pairs an image that enter it.
        operating_threshold: the score above which to show boxes: the best macro-F1 on the validation set.
        digests: SHA-256 of the config and of the data it was trained on.
        step: optimizer steps behind it.
    """

    architecture: dict[str, Any]
    class_names: tuple[str, ...]
    class_ids: tuple[int, ...]
    image_size: tuple[int, int]
    resize: Resize
    score_threshold: float
    iou_threshold: float
    top_k: int
    operating_threshold: float = 0.5
    digests: dict[str, str] = field(default_factory=dict)
    step: int = 0


@dataclass(frozen=True, slots=True)
class Detector:
    """A model with its card."""

    model: RetinaNet
    card: DetectorCard


def save_detector(path: Path, model: RetinaNet, card: DetectorCard) -> None:
    """Write a detector, whole or not at all."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {_METADATA_KEY: json.dumps({"format_version": FORMAT_VERSION, **asdict(card)})}
    with whole_file(path) as draft:
        # Not save_file: it makes files that only their owner may read.
        draft.write_bytes(save(weights, metadata=metadata))


def load_detector(path: Path) -> Detector:
    """Read a detector and build its model, in evaluation mode on the CPU.

    Raises:
        WeightsError: the file is missing, cut off, not a detector of ours, or of a newer format.
    """
    card = read_card(path)
    model = build_retinanet(**card.architecture, num_classes=len(card.class_names))
    load_strictly(model, load_file(path), path)
    return Detector(model.eval().requires_grad_(False), card)


def read_card(path: Path) -> DetectorCard:
    """Read what a detector's file says beside its weights; see `load_detector`."""
    if not path.is_file():
        is_of_run = path.parent.name == "weights"
        likely = (
            "Did the run reach its first evaluation?" if is_of_run else f"Seen from {Path.cwd()}: is the path right?"
        )
        raise WeightsError(f"there is no weights file {path}. {likely}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}). Was it cut off while copied?") from error
    if _METADATA_KEY not in metadata:
        raise WeightsError(
            f"{path} holds weights but is no detector written by softdet. Backbone weights go to basenet.pretrained; "
            "torchvision's detector is made into one by `softdet convert torchvision`."
        )
    content = json.loads(metadata[_METADATA_KEY])
    version = content.pop("format_version")
    if version > FORMAT_VERSION:
        raise WeightsError(f"{path} has format {version}; this softdet reads up to {FORMAT_VERSION}. Update softdet.")
    for key in ("class_names", "class_ids", "image_size"):
        content[key] = tuple(content[key])
    return DetectorCard(**content)


def load_strictly(model: RetinaNet, weights: dict[str, torch.Tensor], source: Path) -> None:
    """Load weights that must fit in every name and shape.

    Raises:
        WeightsError: naming the first that don't.
    """
    own = model.state_dict()
    # BatchNorm counts its batches where it learns and not where it is frozen; nothing reads the count.
    weights = {name: value for name, value in weights.items() if name in own or not name.endswith(_COUNTER)}
    weights |= {name: value for name, value in own.items() if name not in weights and name.endswith(_COUNTER)}
    wrong = sorted(own.keys() ^ weights.keys())
    wrong += sorted(name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape)
    if wrong:
        raise WeightsError(
            f"{source} doesn't fit the model: {len(wrong)} weights are missing, left over or of another shape, the "
            f"first {wrong[:3]}. Are basenet.arch and the keys under model the ones it was trained with?"
        )
    model.load_state_dict(weights)


def start_from(model: RetinaNet, path: Path, class_names: tuple[str, ...], *, classes_may_differ: bool) -> None:
    """Start a model from a whole detector's weights.

    Args:
        model: of the same architecture; changed in place.
        path: the detector's file.
        class_names: the model's classes.
        classes_may_differ: keep the fresh rows of the class outputs of classes that the detector doesn't know, and take
            over those that it knows by name; all other weights must fit.

    Raises:
        WeightsError: the weights don't fit, or the classes differ and may not.
    """
    card = read_card(path)
    weights = load_file(path)
    if card.class_names != class_names:
        if not classes_may_differ:
            raise WeightsError(
                f"model.model_path: {path} knows the classes {list(card.class_names)}, the data has "
                f"{list(class_names)}. "
                "Set model.is_finetune=True to start the changed classes anew."
            )
        weights |= _matching_classes(model, weights, card.class_names, class_names)
    load_strictly(model, weights, path)


def _matching_classes(
    model: RetinaNet, weights: dict[str, torch.Tensor], old: tuple[str, ...], new: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    own = model.state_dict()
    changed = {}
    for name in ("class_head.output.weight", "class_head.output.bias"):
        rest = own[name].shape[1:]
        fresh = own[name].clone().view(-1, len(new), *rest)
        known = weights[name].view(-1, len(old), *rest)
        if len(fresh) != len(known):
            raise WeightsError("model.model_path: the detector has another number of anchors per cell")
        for label, class_name in enumerate(new):
            if class_name in old:
                fresh[:, label] = known[:, old.index(class_name)]
        changed[name] = fresh.view(own[name].shape)
    return changed
