"""Every key, its type, its range, its default and what it does: one model per YAML section.

That of `soft_teacher` has a file of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from softdet.config.auto import OR_AUTO
from softdet.config.soft_teacher import SoftTeacherConfig
from softdet.config.values import (
    Count,
    CountOrZero,
    FilePath,
    ImageSize,
    NotNegative,
    Positive,
    ScaleRange,
    Section,
    Share,
    check_gpus,
)


class DataConfig(Section):
    """Which images."""

    train: FilePath = Field(description="Labeled images: a COCO JSON index.")
    valid: FilePath = Field(description="Images to evaluate on, never trained on: a COCO JSON index.")
    unlabeled: FilePath | None = Field(
        None, description="Unlabeled images: a folder, or a COCO JSON index whose boxes are never read."
    )
    test: FilePath | None = Field(
        None,
        description="Images to report on, a COCO JSON index; they decide nothing, data.valid does.",
    )
    root: FilePath | None = Field(
        None, description="Folder of the images; tried after the index's own folder and its `images/`."
    )
    cache_gb: NotNegative = Field(
        2.0, description="Keep decoded images in memory up to so many GB in each process; 0 for never."
    )


class BasenetConfig(Section):
    """The backbone."""

    arch: Annotated[str, OR_AUTO] = Field(
        "Res50",
        description="Res18/34/50/101/152 or any timm feature backbone by its name. auto: Res50 with a GPU, "
        "mobilenetv2_100 without one.",
    )
    pretrained: bool | FilePath = Field(
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


class OptimizerConfig(Section):
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


class ParamsConfig(Section):
    """The run."""

    batch_size: Annotated[Count, OR_AUTO] = Field(
        8,
        description="Labeled images per optimizer step over all GPUs together. auto: 8 without a GPU, else for each "
        "GPU the largest of 8, 16 and 32 that its memory holds, together at most an eighth of the labeled images.",
    )
    epoch: Count = Field(30, description="Passes over data.train.")
    random_seed: CountOrZero = Field(3000, le=2**63 - 1, description="Of weights, order and augmentation.")
    image_size: Annotated[ImageSize, OR_AUTO] = Field(
        (320, 320),
        description="Rows x columns of the canvas. auto: with a GPU 640 or the images' own size; without one the "
        "smallest of 160 to 320 at which nine objects in ten are 24 pixels or more.",
    )
    classes: FilePath | None = Field(
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


class InferenceConfig(Section):
    """How boxes are chosen: kept in the detector's file, so that it finds the same wherever it runs."""

    cls_th: Share = Field(0.05, description="Lowest score of a detection.")
    nms_th: Share = Field(0.5, description="Boxes of one class that overlap more (IoU) are one.")
    top_k: Count = Field(1000, description="The highest (box, class) pairs of an image that enter suppression.")
    batch_size: Count = Field(
        8, description="Images per forward pass of evaluations; of this section alone it may change after training."
    )


class ModelConfig(Section):
    """The detector, where it starts and where it goes."""

    model_path: FilePath | None = Field(None, description="Weights of a whole detector to start from.")
    exp_path: FilePath = Field(Path("runs/softdet"), description="The run folder.")
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


class CudaConfig(Section):
    """The devices."""

    using: bool = Field(True, description="Take CUDA, else Apple's MPS, else the CPU; False: the CPU.")
    gpu_id: Annotated[CountOrZero | tuple[CountOrZero, ...], AfterValidator(check_gpus)] = Field(
        0, description="One GPU by its number, or a list for data-parallel training."
    )
    num_nodes: Count = Field(1, description="Machines that train together (started with torchrun).")


class Config(Section):
    """All sections."""

    data: DataConfig
    basenet: BasenetConfig = BasenetConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    params: ParamsConfig = ParamsConfig()
    soft_teacher: SoftTeacherConfig = SoftTeacherConfig()
    inference: InferenceConfig = InferenceConfig()
    model: ModelConfig = ModelConfig()
    cuda: CudaConfig = CudaConfig()
