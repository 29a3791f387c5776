"""Export a detector for places without softdet: one file with the card inside, checked against the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from softdet.data.index import ImageRecord
from softdet.deploy.export_check import (
    MOST_BOX_DIFFERENCE,
    MOST_SCORE_DIFFERENCE,
    Parity,
    canvases_of,
    check_parity,
    patterns,
)
from softdet.deploy.export_files import Format, open_exported, require_packages, write_onnx, write_pt2
from softdet.errors import DataError, SoftdetError, WeightsError
from softdet.evaluation.detector import Detector, load_detector
from softdet.files import whole_file


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written.

    Attributes:
        path: of it.
        detector: that it was made of.
        parity: how near it is to that.
        on_images: whether real images were looked at, not patterns.
    """

    path: Path
    detector: Detector
    parity: Parity
    on_images: bool

    @property
    def megabytes(self) -> float:
        """Its size."""
        return self.path.stat().st_size / 1e6


def export_detector(
    weights: Path, out: Path, kind: Format, *, with_nms: bool, records: Sequence[ImageRecord]
) -> Exported:
    """Write a detector as one file, and make sure that it detects the same.

    Args:
        weights: a detector's file.
        out: where to write; what is there is replaced whole, and only by a file that holds.
        kind: ONNX, or a `torch.export` program.
        with_nms: suppress inside, so that detections come out.
        records: images to compare on; patterns serve where there are none.

    Raises:
        SoftdetError: a package is missing, the detector can't be read or exported, or the file detects otherwise: it
            is kept beside `out` then, under another name.
    """
    require_packages(kind)
    detector = load_detector(weights)
    canvases = canvases_of(records, detector.card)
    if records and not len(canvases):
        raise DataError(f"none of the {len(records)} images to compare on can be read, the first {records[0].path}")
    on_images = len(canvases) > 0
    with whole_file(out) as draft:
        write = write_onnx if kind == "onnx" else write_pt2
        try:
            write(detector, draft, with_nms=with_nms)
            parity = check_parity(
                detector,
                open_exported(draft, kind),
                canvases if on_images else patterns(detector.card),
                with_nms=with_nms,
            )
        except OSError:
            raise
        except Exception as error:  # the exporters and runtimes raise their own kinds for whatever they can't do
            raise WeightsError(
                f"the architecture {detector.card.architecture['arch']!r} can't be exported as {kind} "
                f"({type(error).__name__}: {str(error).strip()[:300]}). Try the other --format or another basenet.arch."
            ) from error
        if not parity.holds:
            kept = out.with_stem(f"{out.stem}.differs")
            draft.replace(kept)
            raise SoftdetError(_differs(parity, weights, out, kept))
    return Exported(out, detector, parity, on_images)


def describe_parity(parity: Parity, *, with_nms: bool, on_images: bool) -> str:
    """What was compared and how near it is, in a line."""
    what = "detections" if with_nms else "anchors' boxes"
    where = "images" if on_images else "patterns, for want of images (give --images FOLDER)"
    return (
        f"the same as the detector on {parity.num_images} {where}, in batches of 1, 3 and 8: {parity.num_boxes:,} "
        f"{what}, none further off than {parity.box_difference:.1g} pixels, no score by more than "
        f"{parity.score_difference:.1g}"
    )


def _differs(parity: Parity, weights: Path, out: Path, kept: Path) -> str:
    return (
        f"the exported file doesn't detect what {weights} detects: on {parity.num_images} images and "
        f"{parity.num_boxes:,} boxes, boxes differ by up to {parity.box_difference:.3g} pixels (allowed "
        f"{MOST_BOX_DIFFERENCE:g}), scores by up to {parity.score_difference:.3g} (allowed {MOST_SCORE_DIFFERENCE:g}), "
        f"{parity.num_lost} detections are lost and {parity.num_invented} invented. It is kept as {kept}, for looking "
        f"into, not for use; {out} is as it was. Likely the exporter or the runtime mistranslates an operation: try "
        "the other --format, --no-nms, or other versions of torch, onnxscript and onnxruntime."
    )
