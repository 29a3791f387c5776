"""An exported detector's file, ONNX or pt2: written with its card inside, and read back to be run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

import softdet
from softdet.deploy.export_graph import DenseGraph, DetectionGraph, ScoresByClassGraph
from softdet.errors import ConfigError
from softdet.evaluation.detector import Detector, DetectorCard

Format = Literal["onnx", "pt2"]
Runner = Callable[[NDArray[np.uint8]], list[NDArray[Any]]]
# The oldest that torch's exporter writes.
OPSET = 18
DENSE_OUTPUTS = ("boxes", "scores")
DETECTION_OUTPUTS = ("boxes", "scores", "labels", "image_index")
PT2_CARD = "softdet.json"
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def require_packages(kind: Format) -> None:
    """Make sure that a format can be written and checked here.

    Raises:
        ConfigError: a package of the extra is missing.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None] if kind == "onnx" else []
    if missing:
        raise ConfigError(
            f"--format onnx needs the packages {', '.join(_NEEDED)}; not installed: {', '.join(missing)}. "
            f"Run: pip install {' '.join(missing)}. Or take --format pt2, which needs nothing more."
        )


def inner_card(card: DetectorCard, *, with_nms: bool) -> dict[str, Any]:
    """What an exported file says beside its graph: the detector's card, and what goes in and comes out."""
    return {
        "softdet_version": softdet.__version__,
        **asdict(card),
        "nms": with_nms,
        "input": "images: (B, rows, columns, 3) uint8 RGB, resized to image_size; nothing to normalise",
        "outputs": list(DETECTION_OUTPUTS if with_nms else DENSE_OUTPUTS),
    }


def write_pt2(detector: Detector, path: Path, *, with_nms: bool) -> None:
    """Write a detector as a `torch.export` program; `torch.export.load(path, extra_files={"softdet.json": ""})`."""
    graph = (DetectionGraph(detector) if with_nms else DenseGraph(detector)).eval()
    with warnings.catch_warnings():
        # torchvision's own nms asks torch for the number of its boxes by an old name.
        warnings.filterwarnings("ignore", "`create_unbacked_symint` is deprecated", FutureWarning)
        program = torch.export.export(graph, (_example(detector),), dynamic_shapes=_dynamic())
    for node in program.graph.nodes:
        # Lines of source with the paths of this machine.
        node.meta.pop("stack_trace", None)
    card = json.dumps(inner_card(detector.card, with_nms=with_nms))
    # A file object, since torch insists on the ending .pt2 and a draft has another.
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={PT2_CARD: card})


def write_onnx(detector: Detector, path: Path, *, with_nms: bool) -> None:
    """Write a detector as ONNX; each entry of its card is JSON in the model's metadata."""
    import onnx

    graph = (ScoresByClassGraph(detector) if with_nms else DenseGraph(detector)).eval()
    program = torch.onnx.export(
        graph,
        (_example(detector),),
        dynamic_shapes=_dynamic(),
        dynamo=True,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["candidate_boxes", "class_scores"] if with_nms else list(DENSE_OUTPUTS),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    if with_nms:
        _append_suppression(model.graph, detector.card)
    _clean(model)
    onnx.helper.set_model_props(
        model, {key: json.dumps(value) for key, value in inner_card(detector.card, with_nms=with_nms).items()}
    )
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _example(detector: Detector) -> torch.Tensor:
    # Two images: the exporters take a batch of one for a constant.
    return torch.zeros(2, *detector.card.image_size, 3, dtype=torch.uint8)


def _dynamic() -> dict[str, Any]:
    return {"images": {0: torch.export.Dim("batch", min=1)}}


def _append_suppression(graph: Any, card: DetectorCard) -> None:
    """Put ONNX's suppression behind (B, P, 4) boxes and (B, K, P) scores: it works image by image, class by class."""
    from onnx import TensorProto, helper, numpy_helper

    constants: dict[str, NDArray[Any]] = {
        "most": np.array([card.top_k], np.int64),
        "iou_threshold": np.array([card.iou_threshold], np.float32),
        "score_threshold": np.array([card.score_threshold], np.float32),
        "column_of_image": np.array(0, np.int64),
        "column_of_class": np.array(1, np.int64),
        "columns_of_box": np.array([0, 2], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    limits = ["most", "iou_threshold", "score_threshold"]
    graph.node.extend(
        [
            # Rows of image, class and place among the candidates.
            helper.make_node("NonMaxSuppression", ["candidate_boxes", "class_scores", *limits], ["selected"]),
            helper.make_node("Gather", ["selected", "column_of_image"], ["image_index"], axis=1),
            helper.make_node("Gather", ["selected", "column_of_class"], ["labels"], axis=1),
            helper.make_node("Gather", ["selected", "columns_of_box"], ["selected_boxes"], axis=1),
            helper.make_node("GatherND", ["candidate_boxes", "selected_boxes"], ["boxes"]),
            helper.make_node("GatherND", ["class_scores", "selected"], ["scores"]),
        ]
    )
    types = {"boxes": TensorProto.FLOAT, "scores": TensorProto.FLOAT}
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(
            name, types.get(name, TensorProto.INT64), ["detections", 4] if name == "boxes" else ["detections"]
        )
        for name in DETECTION_OUTPUTS
    )


def _clean(model: Any) -> None:
    """Take out what tells of this machine, and call the batch a batch."""
    model.doc_string = "A detector trained with softdet; its card is in the metadata."
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        # Lines of source with the paths of this machine, a twentieth of the file.
        del node.metadata_props[:]
    # The runtimes infer the shapes between input and outputs themselves.
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_param != "detections":
            first.dim_param = "batch"
    for weights in model.graph.initializer:
        del weights.metadata_props[:]


def open_exported(path: Path, kind: Format) -> Runner:
    """Read an exported file and make it run on the CPU: images (B, H, W, 3) uint8 to its outputs, in their order."""
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return lambda images: list(session.run(None, {"images": images}))
    with path.open("rb") as file:
        module = torch.export.load(file).module()

    def run(images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            return [output.numpy() for output in module(torch.from_numpy(images))]

    return run


def outputs_of(runner: Runner, images: NDArray[np.uint8], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """One batch's outputs by name."""
    return dict(zip(names, runner(images), strict=True))
