"""The gradients of one step, over its micro-batches, in the memory that there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from softdet.engine.protocols import Method
from softdet.errors import RunError
from softdet.ops.distributed import alone, sum_over_ranks, world_size
from softdet.structures import AugmentedBatch, TrainBatch


class Gradients:
    """Sums the gradients of a step; where the memory doesn't hold a micro-batch, it goes on with smaller ones.

    Losses are divided by what the whole step holds, so smaller micro-batches give the same sum (where BatchNorm is
    frozen, as with pretrained weights; else its statistics are those of the smaller ones). Where no equal pieces are
    small enough, unlabeled images may be mixed with other labeled ones.

    Args:
        fabric: launched.
        student: as set up by `fabric`.
        optimizer: likewise.
        trial: the method around a student that tells the other ranks nothing; needed where there are several. A rank
            that fails in the middle of a step would leave the others waiting for ever, so they first try a step of
            each kind on their own.
    """

    def __init__(
        self,
        fabric: Fabric,
        student: Any,
        optimizer: Any,
        trial: Method | None,
    ) -> None:
        self.fabric = fabric
        self.student = student
        self.optimizer = optimizer
        self.trial = trial
        self._tried: set[bool] = set()

    def of(
        self,
        method: Method,
        augment: Callable[[TrainBatch], AugmentedBatch],
        batches: Sequence[TrainBatch],
        pieces: int,
        seed: int,
        say: Callable[[str], None],
    ) -> tuple[dict[str, float], int]:
        """Leave the gradients of a step in the student.

        Args:
            method: what gives the losses.
            augment: from stored images to views.
            batches: its micro-batches, of this rank.
            pieces: into how many each of them is cut.
            seed: of whatever is random in the student.
            say: told when smaller ones are needed.

        Returns:
            The losses and statistics, means over the ranks; and into how many pieces each micro-batch was cut.

        Raises:
            RunError: the memory doesn't hold one image of each kind.
        """
        # The burn-in, with more images of its one kind, may have been cut further.
        pieces = min(pieces, batches[0].most_pieces)
        semi = batches[0].unlabeled is not None
        if world_size() > 1 and semi not in self._tried:
            while not self._fits_everywhere(augment, batches, pieces):
                pieces = self._smaller(batches, pieces, say)
            self._tried.add(semi)
        while True:
            before = method.state_dict()
            torch.manual_seed(seed)
            try:
                return self._sum(method, self._views(augment, batches, pieces)), pieces
            except torch.OutOfMemoryError as error:
                if world_size() > 1:
                    raise RunError(
                        f"step {batches[0].step + 1}: out of memory on rank {self.fabric.global_rank}, after steps of "
                        "the same kind had fitted. Does something else use this GPU? Go on with --resume; if it comes "
                        f"again, double params.accumulate in the run's config.yaml. ({_short(error)})"
                    ) from error
            # Out here, since the exception holds on to all that the step had made.
            pieces = self._smaller(batches, pieces, say)
            method.load_state_dict(before)

    def _views(
        self, augment: Callable[[TrainBatch], AugmentedBatch], batches: Sequence[TrainBatch], pieces: int
    ) -> list[AugmentedBatch]:
        # Cut when augmented, not before: labeled images are mixed with the ones beside them.
        return [piece for batch in batches for piece in augment(batch.to(self.fabric.device)).split(pieces)]

    def _sum(self, method: Method, views: list[AugmentedBatch]) -> dict[str, float]:
        sums: dict[str, Tensor] = {}
        statistics: dict[str, float] = {}
        self.optimizer.zero_grad(set_to_none=True)
        outputs = method.step(views)
        for number in range(len(views)):
            # The student's forward pass runs inside too: that is where data parallelism decides whether to sync.
            with self.fabric.no_backward_sync(self.student, enabled=number < len(views) - 1):
                output = next(outputs)
                self.fabric.backward(output.loss)
            for name, value in {"loss": output.loss.detach(), **output.losses}.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
            share = _num_images(views[number]) / sum(map(_num_images, views))
            for name, value_of in output.statistics.items():
                statistics[name] = statistics.get(name, 0.0) + value_of * share
        counted = torch.tensor([*statistics.values()], dtype=torch.float32, device=self.fabric.device)
        values = torch.cat([torch.stack([value.float() for value in sums.values()]), counted])
        means = (sum_over_ranks(values) / world_size()).tolist()
        return dict(zip([*sums, *statistics], means, strict=True))

    def _fits_everywhere(
        self, augment: Callable[[TrainBatch], AugmentedBatch], batches: Sequence[TrainBatch], pieces: int
    ) -> bool:
        assert self.trial is not None, "several ranks have one"
        failed = 0
        # What a free BatchNorm sees here doesn't count, or a resumed run, which tries anew, would differ.
        before = [buffer.clone() for buffer in self.student.buffers()]
        try:
            # The bare student doesn't bring the precision along, as the wrapped one does.
            with alone(), self.fabric.autocast():
                self._sum(self.trial, self._views(augment, batches, pieces))
        except torch.OutOfMemoryError:
            failed = 1
        for buffer, value in zip(self.student.buffers(), before, strict=True):
            buffer.copy_(value)
        return not sum_over_ranks(torch.tensor([failed], device=self.fabric.device)).item()

    def _smaller(self, batches: Sequence[TrainBatch], pieces: int, say: Callable[[str], None]) -> int:
        """At least twice as many pieces, equal ones if there are any; all ranks come here together."""
        self.optimizer.zero_grad(set_to_none=True)
        has_cuda = self.fabric.device.type == "cuda"
        if has_cuda:
            torch.cuda.empty_cache()
        batch = batches[0]
        kind = "labeled" if batch.unlabeled is None else "labeled and unlabeled"
        at_once = math.ceil(len(batch.labeled) / pieces)
        if pieces == batch.most_pieces:
            raise RunError(
                f"step {batch.step + 1}: out of memory with {at_once} {kind} image{'s' * (at_once > 1)} at once, and "
                "fewer can't be. Take a smaller params.image_size, model.fpn_channels or basenet.arch"
                + (", params.precision=bf16-mixed, or a GPU with more memory." if has_cuda else ".")
            )
        sizes = len(batch.labeled), len(batch.unlabeled or batch.labeled)
        equal = (number for number in range(2 * pieces, batch.most_pieces) if not any(size % number for size in sizes))
        smaller = next(equal, batch.most_pieces)
        say(
            f"step {batch.step + 1}: out of memory with {at_once} {kind} images at once; from here on they come in "
            f"pieces of {math.ceil(len(batch.labeled) / smaller)}, and the step as a whole stays what it was"
        )
        return smaller


def _num_images(views: AugmentedBatch) -> int:
    return len(views.targets if views.strong is None else views.strong.images)


def _short(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
