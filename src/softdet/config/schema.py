"""Every key, its type, its range, its default and what it does: one model per YAML section."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from softdet.config.auto import OR_AUTO
from softdet.config.values import (
    Count,
    CountOrZero,
    ImageSize,
    NotNegative,
    Positive,
    ScaleRange,
    Share,
    check_gpus,
    check_weak_scale,
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


class DataConfig(_Section):
    """Which images."""

    train: Path = Field(description="Labeled images: a COCO JSON index.")
    valid: Path = Field(description="Images to evaluate on, never trained on: a COCO JSON index.")
    unlabeled: Path | None = Field(
        None, description="Unlabeled images: a folder, or a COCO JSON index whose boxes are never read."
    )
    test: Path | None = Field(
        None,
        description="Images to report on, a COCO JSON index; they decide nothing, data.valid does.",
    )
    root: Path | None = Field(
        None, description="Folder of the images; tried after the index's own folder and its `images/`."
    )
    cache_gb: NotNegative = Field(
        2.0, description="Keep decoded images in memory up to so many GB in each process; 0 for never."
    )


class BasenetConfig(_Section):
    """The backbone."""

    arch: Annotated[str, OR_AUTO] = Field(
        "Res50",
        description="Res18/34/50/101/152 or any timm feature backbone by its name. auto: Res50 with a GPU, "
        "mobilenetv2_100 without one.",
    )
    pretrained: bool | Path = Field(
        True, description="ImageNet weights: True downloads them, a path loads a local file, False starts from scratch."
    )
    lr_backbone: Annotated[NotNegative, OR_AUTO] = Field(
        1e-4, description="Learning rate of the backbone. auto: that of the rest."
    )
    frozen_stages: CountOrZero | Literal["auto"] = Field(
        "auto",
        description="How many of the first feature stages (strides 2, 4, ...) never learn. "
        "auto: 2 with pretrained weights, 0 from scratch.",
    )
    frozen_batchnorm: bool | Literal["auto"] = Field(
        "auto",
        description="Fix the statistics and affine of the backbone's BatchNorm. "
        "auto: with pretrained weights, since batches of 8 estimate them badly.",
    )


class OptimizerConfig(_Section):
    """How the weights move."""

    which: Literal["Adam", "AdamW", "SGD"] = Field("Adam", description="SGD has momentum .9.")
    lr: Annotated[Positive, OR_AUTO] = Field(
        1e-4,
        description="Learning rate of all but the backbone. auto: in proportion to the labeled images a step, from "
        "what served the backbone at 8.",
    )
    weight_decay: NotNegative = Field(
        1e-4, description="As that optimizer defines it (L2 for Adam and SGD), not on norms and biases."
    )
    schedule: Literal["constant", "step", "cosine"] = Field(
        "constant", description="Learning rate over the run; step divides it by 10 at each milestone."
    )
    milestones: tuple[Share, ...] = Field((0.67, 0.89), description="For step: parts of the run.")
    warmup_steps: CountOrZero = Field(
        100, description="The learning rate grows linearly over so many steps, at most a tenth of the run."
    )
    clip_norm: NotNegative = Field(10.0, description="Largest norm of all gradients together; 0 for no limit.")


class ParamsConfig(_Section):
    """The run."""

    batch_size: Annotated[Count, OR_AUTO] = Field(
        8,
        description="Labeled images per optimizer step over all GPUs together. auto: 8 without a GPU, else for each "
        "GPU the largest of 8, 16 and 32 that its memory holds.",
    )
    epoch: Count = Field(30, description="Passes over data.train.")
    random_seed: CountOrZero = Field(3000, description="Of weights, order and augmentation.")
    image_size: Annotated[ImageSize, OR_AUTO] = Field(
        (320, 320),
        description="Rows x columns of the canvas. auto: with a GPU 640 or the images' own size; without one the "
        "smallest of 160 to 320 at which nine objects in ten are 24 pixels or more.",
    )
    classes: Path | None = Field(
        None, description="File with one class name a line; left out: the classes of data.train."
    )
    data_worker: CountOrZero = Field(0, description="Loader processes for each of the two lists; 0: none.")
    iterations: Annotated[Count | None, OR_AUTO] = Field(
        None, description="Optimizer steps; overrides epoch. auto: the burn-in and at least 1.5 times as many again."
    )
    accumulate: Annotated[Count, OR_AUTO] = Field(
        1,
        description="Micro-batches per step: the same gradients with less memory. Divides batch_size / GPUs, with "
        "mixup or paste into an even number. auto: as few as the GPU's memory allows.",
    )
    resize: Literal["letterbox", "stretch"] = Field(
        "letterbox", description="Keep the images' shape and fill with grey, or stretch them to the canvas."
    )
    flip: Share = Field(0.5, description="Probability of a horizontal flip.")
    quarter_turn: Share = Field(
        0.0,
        description="Probability that a labeled or strong view is turned by 90, 180 or 270 degrees: for pictures that "
        "have no upper side.",
    )
    scale: ScaleRange = Field(
        (0.6, 1.25), description="Scale jitter of labeled and strong views; 1 just fits the canvas."
    )
    colour: bool = Field(True, description="One of Soft Teacher's nine colour operations on labeled images.")
    box_loss: Literal["smooth_l1", "giou"] = Field(
        "smooth_l1",
        description="What a box is wrong by: its offsets (smooth_l1), or its overlap with the true one (giou).",
    )
    mixup: Share = Field(
        0.0, description="Probability that a labeled image is shown mixed with another one, with the labels of both."
    )
    paste: Share = Field(
        0.0,
        description="Probability that the objects of another labeled image are pasted on a labeled image, instead of "
        "mixup.",
    )
    repeat_rare: Share = Field(
        0.0,
        description="Show labeled images of rare classes more often: as many times as their rarest class is rarer than "
        "the commonest, to this power. 0: all alike; 0.5: as LVIS does; 1: classes about equally often.",
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="Number format on GPUs; the CPU always computes in 32 bits."
    )
    evaluate_every: Annotated[CountOrZero, OR_AUTO] = Field(
        0,
        description="Steps between evaluations on data.valid; 0: ten times a run. The last step always evaluates. "
        "auto: ten times a run, at least 100 steps apart.",
    )
    evaluate_student: bool = Field(
        True, description="Also evaluate the student itself, beside its average: one more pass over data.valid each."
    )
    checkpoint_every: CountOrZero = Field(0, description="Steps between checkpoints; 0: with each evaluation.")
    log_every: Count = Field(20, description="Steps between rows of metrics.csv.")
    gallery_images: CountOrZero = Field(
        8,
        description="Unlabeled images, always the same, whose pseudo-labels are kept at each evaluation for softdet "
        "report; 0: none.",
    )
    tensorboard: bool = Field(False, description="Also write TensorBoard files (pip install tensorboard).")


class SoftTeacherConfig(_Section):
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


class InferenceConfig(_Section):
    """Detection after training, in evaluate and in predict."""

    cls_th: Share = Field(0.05, description="Lowest score of a detection.")
    nms_th: Share = Field(0.5, description="Boxes of one class that overlap more (IoU) are one.")
    top_k: Count = Field(1000, description="The highest (box, class) pairs of an image that enter suppression.")
    batch_size: Count = Field(8, description="Images per forward pass.")


class ModelConfig(_Section):
    """The detector, where it starts and where it goes."""

    model_path: Path | None = Field(None, description="Weights of a whole detector to start from.")
    exp_path: Path = Field(Path("runs/softdet"), description="The run folder.")
    is_finetune: bool = Field(
        False, description="With model_path: the classes may differ; only what depends on them starts anew."
    )
    fpn_channels: Annotated[int, Field(ge=8, multiple_of=8), OR_AUTO] = Field(
        256, description="Channels of the feature pyramid and the heads. auto: 256 with a GPU, 96 without one."
    )
    head_convs: Annotated[CountOrZero, OR_AUTO] = Field(
        4, description="3x3 convolutions in each head. auto: 4 with a GPU, 2 without one."
    )
    anchor_sizes: Annotated[tuple[Positive, Positive, Positive, Positive, Positive], OR_AUTO] = Field(
        (32, 64, 128, 256, 512),
        description="Base side of the anchors on P3 to P7, in pixels of the canvas. auto: these, or up to half as "
        "large where more than a tenth of the objects would have none that fits.",
    )
    anchor_octaves: Annotated[tuple[Positive, ...], Field(min_length=1), OR_AUTO] = Field(
        (1.0, 2 ** (1 / 3), 2 ** (2 / 3)),
        description="Multiples of the base side on each level. auto: these, and .5 where a class of small objects "
        "would have no anchor that fits.",
    )
    anchor_ratios: tuple[Positive, ...] = Field((0.5, 1.0, 2.0), min_length=1, description="Height / width.")


class CudaConfig(_Section):
    """The devices."""

    using: bool = Field(True, description="Take CUDA, else Apple's MPS, else the CPU; False: the CPU.")
    gpu_id: Annotated[CountOrZero | tuple[CountOrZero, ...], AfterValidator(check_gpus)] = Field(
        0, description="One GPU by its number, or a list for data-parallel training."
    )
    num_nodes: Count = Field(1, description="Machines that train together (started with torchrun).")


class Config(_Section):
    """All sections."""

    data: DataConfig
    basenet: BasenetConfig = BasenetConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    params: ParamsConfig = ParamsConfig()
    soft_teacher: SoftTeacherConfig = SoftTeacherConfig()
    inference: InferenceConfig = InferenceConfig()
    model: ModelConfig = ModelConfig()
    cuda: CudaConfig = CudaConfig()
