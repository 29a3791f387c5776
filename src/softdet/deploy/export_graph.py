"""A detector as one graph from the bytes of a canvas to boxes, which `torch.export` and ONNX can write down.

Legend: B images, N anchors, K classes, P of the (box, class) pairs of an image, M detections of all images together.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, nms

from softdet.evaluation.detector import Detector
from softdet.ops.box_coding import decode


class DenseGraph(nn.Module):
    """Every anchor's box and its scores.

    Images come as bytes with the colours last, as every decoder hands them over: there is no normalisation that a user
    could forget, and the runtimes refuse another layout or type instead of detecting nonsense.

    Args:
        detector: with its card; a copy of its model is taken.
    """

    anchors: Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        # The archive of torch.export wants weights in their plain order.
        self.model = copy.deepcopy(detector.model).to(memory_format=torch.contiguous_format)
        self.size = detector.card.image_size
        # As a buffer, so that the anchors that the model lays out while it's traced aren't part of the graph.
        self.register_buffer("anchors", self.model.anchors_at(self.size).clone())
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, H, W, 3) uint8 RGB to boxes (B, N, 4), xyxy in pixels of the canvas, and scores (B, N, K)."""
        output = self.model(images.permute(0, 3, 1, 2).float() / 255)
        return clip_boxes_to_image(decode(output.deltas, self.anchors), self.size), output.logits.sigmoid()


class CandidateGraph(nn.Module):
    """The highest (box, class) pairs of each image, as many of every image; `postprocess.candidates` as a graph.

    Args:
        detector: with its card.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.dense = DenseGraph(detector)
        self.num_classes = len(detector.card.class_names)
        self.num_pairs = min(detector.card.top_k, len(self.dense.anchors) * self.num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map images to boxes (B, P, 4), scores (B, P), of which a box without area has 0, and labels (B, P)."""
        boxes, scores = self.dense(images)
        best, pairs = scores.flatten(1).topk(self.num_pairs)
        chosen = (pairs // self.num_classes).unsqueeze(-1).expand(-1, -1, 4)
        boxes = boxes.gather(1, chosen)
        has_area = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
        return boxes, best * has_area, pairs % self.num_classes


class ScoresByClassGraph(nn.Module):
    """The same pairs as ONNX's NonMaxSuppression takes them.

    Args:
        detector: with its card.
    """

    classes: Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.candidates = CandidateGraph(detector)
        self.register_buffer("classes", torch.arange(self.candidates.num_classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images to boxes (B, P, 4) and scores (B, K, P), of which each pair has one above 0."""
        boxes, scores, labels = self.candidates(images)
        is_of_class = labels[:, None, :] == self.classes[:, None]
        return boxes, scores[:, None, :] * is_of_class


class DetectionGraph(nn.Module):
    """Detections of all images in rows; for `torch.export`, which knows torchvision's suppression.

    Args:
        detector: with its card.
    """

    lent: Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.candidates = CandidateGraph(detector)
        self.score_threshold = detector.card.score_threshold
        self.iou_threshold = detector.card.iou_threshold
        # Two boxes of different images or classes never touch once they are this far apart.
        self.stride = max(detector.card.image_size) + 1
        lent = [[-2.0, -2.0, -1.0, -1.0], [-4.0, -4.0, -3.0, -3.0]]
        self.register_buffer("lent", torch.tensor(lent, dtype=torch.float64))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map images to boxes (M, 4), scores (M,), labels (M,) and image_index (M,), by falling score."""
        boxes, scores, labels = self.candidates(images)
        # Not len(images), which the tracer takes for a constant.
        images_of_batch = torch.arange(images.shape[0], device=images.device)
        image_index = images_of_batch[:, None].expand_as(labels).flatten()
        kept = (scores.flatten() > self.score_threshold).nonzero().squeeze(1)
        boxes, scores = boxes.flatten(0, 1)[kept], scores.flatten()[kept]
        labels, image_index = labels.flatten()[kept], image_index[kept]
        group = image_index * self.candidates.num_classes + labels
        # In float64: float32 would round the places of far groups to hundredths of a pixel.
        apart = boxes.double() + (group * self.stride).unsqueeze(1)
        # torch.export believes that nms keeps two boxes or more and has its program fail otherwise, so two are lent.
        order = nms(torch.cat([self.lent, apart]), torch.cat([self.lent[:, 0], scores.double()]), self.iou_threshold)
        order = order[order >= len(self.lent)] - len(self.lent)
        return boxes[order], scores[order], labels[order], image_index[order]
