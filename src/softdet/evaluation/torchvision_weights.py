"""torchvision's COCO-trained RetinaNet (ResNet-50 FPN v2) as a detector of ours, to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models._meta import _COCO_CATEGORIES

from softdet.errors import WeightsError
from softdet.evaluation.detector import DetectorCard, load_strictly, save_detector
from softdet.models.retinanet import RetinaNet, build_retinanet

# All of it, since a run that starts from such a file reads its own from there.
_ARCHITECTURE: dict[str, Any] = {
    "arch": "Res50",
    "num_frozen_stages": 2,
    "freeze_batchnorm": True,
    "fpn_channels": 256,
    "head_convs": 4,
    "anchor_sizes": [32.0, 64.0, 128.0, 256.0, 512.0],
    "anchor_octaves": [1.0, 2 ** (1 / 3), 2 ** (2 / 3)],
    "anchor_ratios": [0.5, 1.0, 2.0],
}
# Its names, and ours for the same weights. The FPN is the same torchvision class.
_RENAMED = {
    "backbone.body.": "backbone.body.",
    "backbone.fpn.": "fpn.",
    "head.classification_head.conv.": "class_head.convs.",
    "head.classification_head.cls_logits.": "class_head.output.",
    "head.regression_head.conv.": "box_head.convs.",
    "head.regression_head.bbox_reg.": "box_head.output.",
}
_NUM_ANCHORS = 9


def convert(weights: dict[str, Tensor], categories: list[str]) -> tuple[RetinaNet, DetectorCard]:
    """Make torchvision's weights into a detector.

    Args:
        weights: the state dict of `retinanet_resnet50_fpn_v2`, with one logit per category.
        categories: their names; those that aren't classes (`__background__`, `N/A`) are left out.

    Returns:
        The model and its card; category ids are COCO's own.

    Raises:
        WeightsError: the weights are of another model.
    """
    kept = [number for number, name in enumerate(categories) if name not in ("__background__", "N/A")]
    model = build_retinanet(**_ARCHITECTURE, num_classes=len(kept))
    ours: dict[str, Tensor] = {name: value for name, value in model.state_dict().items() if name in ("mean", "std")}
    for name, value in weights.items():
        prefix = next((prefix for prefix in _RENAMED if name.startswith(prefix)), None)
        if prefix is None:
            raise WeightsError(f"{name!r} is no weight of torchvision's retinanet_resnet50_fpn_v2")
        if name.endswith("num_batches_tracked"):
            continue  # frozen BatchNorm doesn't count
        ours[_RENAMED[prefix] + name.removeprefix(prefix)] = value
    for name in ("class_head.output.weight", "class_head.output.bias"):
        if name not in ours or len(ours[name]) != _NUM_ANCHORS * len(categories):
            raise WeightsError(f"the class outputs are not {_NUM_ANCHORS} anchors x {len(categories)} categories")
        logits = ours[name].view(_NUM_ANCHORS, len(categories), *ours[name].shape[1:])
        ours[name] = logits[:, kept].flatten(0, 1)
    load_strictly(model, ours, Path("torchvision's weights"))
    card = DetectorCard(
        architecture=_ARCHITECTURE,
        class_names=tuple(categories[number] for number in kept),
        class_ids=tuple(kept),
        image_size=(800, 1344),
        resize="letterbox",
        score_threshold=0.05,
        iou_threshold=0.5,
        top_k=1000,
    )
    return model, card


def save_converted(file: Path, out: Path) -> None:
    """Read torchvision's file and write a detector's.

    Raises:
        WeightsError: the file is missing or of another model.
    """
    if not file.is_file():
        raise WeightsError(
            f"there is no file {file}. It is RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1 of torchvision: "
            "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth"
        )
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises nearly any kind on bytes that aren't its own
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise WeightsError(f"{file} can't be read as weights ({reason}). Was it cut off while copied?") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise WeightsError(
            f"{file} holds no state dict (names to tensors). It should be retinanet_resnet50_fpn_v2's of torchvision"
        )
    model, card = convert(weights, list(_COCO_CATEGORIES))
    save_detector(out, model, card)
