"""The keys of `soft_teacher`: what is done with the unlabeled images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from softdet.config.auto import OR_AUTO
from softdet.config.values import CountOrZero, NotNegative, Positive, ScaleRange, Section, Share, check_weak_scale


class SoftTeacherConfig(Section):
    """The method."""

    enabled: bool = Field(True, description="False trains the supervised control; --supervised says the same.")
    control: bool = Field(
        False,
        description="Train the supervised control first, in the run's folder `control`; both arms share the burn-in, "
        "and weights/best becomes the winner's last weights.",
    )
    pseudo_cls_th: Share | Literal["auto"] = Field(
        0.9,
        description="Teach the class of the teacher's boxes above this score. auto: for each class the score at which "
        "the teacher finds as many boxes an image as the labels hold. With class_targets=dense it only chooses the "
        "boxes whose place is taught, and what the class loss is divided by.",
    )
    class_targets: Literal["hard", "soft", "dense", "any", "none"] = Field(
        "hard",
        description="What is taught of a pseudo box's class: hard: its class; soft: the teacher's scores of all "
        "classes at each of its anchors; dense: the teacher's scores at every anchor, background too; any: that it is "
        "an object; none: nothing, and no background either: boxes alone.",
    )
    unsup_loss_weight: NotNegative = Field(1.0, description="Weight of the unlabeled images' losses.")
    ema_decay: Annotated[Share, OR_AUTO] = Field(
        0.99,
        description="The share of the teacher that is kept at each step. auto: it remembers a twentieth of the run.",
    )
    pseudo_box_th: Share | None = Field(
        None, description="Teach the place of boxes above this score, if agreed upon; left out: pseudo_cls_th."
    )
    unlabeled_ratio: Annotated[Positive, OR_AUTO] = Field(
        1.0,
        description="Unlabeled images per labeled one in a step. auto: 1; with a GPU and more than ten unlabeled "
        "images for each labeled one, 2.",
    )
    burn_in_steps: Annotated[CountOrZero | None, OR_AUTO] = Field(
        None,
        description="Steps on labeled images alone; left out: a fifth of the run, at most 5,000. auto: until labeled "
        "images alone teach no more, by the number of classes and images.",
    )
    max_loss_ratio: Positive | None = Field(
        None, description="The unlabeled images' losses are scaled down to at most so many times the labeled ones'."
    )
    ramp_steps: Annotated[CountOrZero, OR_AUTO] = Field(
        0,
        description="The weight grows over so many steps after the burn-in. auto: 100, or a twentieth of what follows.",
    )
    background: Literal["soft", "ignore", "none"] = Field(
        "soft",
        description="soft: background weighs 1 - the teacher's highest score there; ignore: anchors near doubtful "
        "boxes are left out; none: all of it is believed. Not asked with class_targets=dense or none.",
    )
    doubtful_th: Share = Field(0.3, description="For background=ignore: the lowest score of a doubtful box.")
    box_reliability: Literal["cluster", "anchors", "none"] = Field(
        "cluster",
        description="Where a box's uncertainty is read: the boxes that suppression merged, the ten nearest anchors, "
        "or nowhere.",
    )
    uncertainty_th: NotNegative | None = Field(
        None, description="Largest box uncertainty that still teaches; left out: read off the teacher's recent boxes."
    )
    empty_image_weight: Share = Field(
        0.0,
        description="Weight of the class loss of an unlabeled image without any pseudo box, a labeled partner's boxes "
        "aside: pure background teaches to see nothing. Not asked with class_targets=dense or none.",
    )
    weak_scale: Annotated[ScaleRange, AfterValidator(check_weak_scale)] = Field(
        (0.8, 1.0), description="Scale of the teacher's view; at most 1, so that it never crops."
    )
    translate: Share = Field(0.1, description="Largest shift of the strong view, in parts of the canvas.")
    rotate: NotNegative = Field(
        0.0, description="Largest rotation of the strong view, in degrees; then no place is taught."
    )
    shear: NotNegative = Field(0.0, description="Largest shear of the strong view, in degrees; likewise.")
    strong_colour: bool = Field(True, description="One of the nine colour operations on the strong view.")
    erase: bool = Field(True, description="Erase 1 to 4 squares of the strong view.")
    mixup: bool = Field(
        False, description="The student sees each unlabeled image mixed with a labeled one, with the labels of both."
    )
    paste: Share = Field(
        0.0,
        description="Probability that the objects of a labeled image are pasted on an unlabeled one, instead of mixup.",
    )
    labeled_too: bool = Field(
        False, description="The labeled images also serve as unlabeled ones: for sets where many objects aren't boxed."
    )
    missing_labels: Literal["background", "ignore"] = Field(
        "background",
        description="ignore: where the teacher is sure of an object in a labeled image and no box speaks of it, no "
        "background is taught.",
    )
    far_images: Literal["keep", "flag", "leave_out"] = Field(
        "flag",
        description="Unlabeled images that look unlike the labeled ones, as the teacher sees them at the end of the "
        "burn-in. flag: list them in far_images.csv; leave_out: and train without them; keep: don't look.",
    )
    mitigate: bool = Field(
        False,
        description="Turn the knob that the health monitor names: starving lowers the threshold where the teacher sees "
        "more, exploding halves the unlabeled images' weight, collapsed sets it to 0.",
    )
