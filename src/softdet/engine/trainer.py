"""The loop. It knows a method only by what it must do; everything that learns is in `semi/` and `models/`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from softdet.engine.checkpoint import load_checkpoint, misfit, save_checkpoint
from softdet.engine.evaluator import Evaluator
from softdet.engine.gradients import Gradients
from softdet.engine.loggers import Loggers
from softdet.engine.optimization import load_memory
from softdet.engine.progress import ProgressLine, StepTimes, Stopwatch, memory_gb
from softdet.engine.protocols import Method, Monitor, Pool
from softdet.engine.stopping import StopRequest
from softdet.engine.train_state import Intervals, TrainState
from softdet.engine.update import Update
from softdet.ops.distributed import gather_lists, sum_over_ranks, world_size
from softdet.structures import AugmentedBatch, TrainBatch


class Trainer:
    """Trains a method to the end, with checkpoints on the way.

    Args:
        fabric: launched.
        method: what to train.
        student: as set up by `fabric`, with its optimizer.
        optimizer: likewise.
        augment: from stored images to views.
        batches: from a range of steps to this rank's micro-batches.
        set_learning_rate: called with each step before it.
        evaluator: looks at the run now and then.
        num_steps: of the whole run.
        semi_from: the first step with unlabeled images.
        intervals: how often to log, evaluate and save.
        clip_norm: the largest norm of the gradients; 0 for no limit.
        seed: of the run.
        checkpoint: its file.
        burn_in_checkpoint: where to keep the state at the end of the burn-in for another arm; None keeps none.
        loggers: of the numbers; on rank 0 only.
        monitor: watches the method; None for one that needs no watching.
        pool: knows which unlabeled images serve; None where all do.
        trial: see `Gradients`.
    """

    def __init__(
        self,
        *,
        fabric: Fabric,
        method: Method,
        student: Any,
        optimizer: Any,
        augment: Callable[[TrainBatch], AugmentedBatch],
        batches: Callable[[range], Iterator[list[TrainBatch]]],
        set_learning_rate: Callable[[int], None],
        evaluator: Evaluator,
        num_steps: int,
        semi_from: int,
        intervals: Intervals,
        clip_norm: float,
        seed: int,
        checkpoint: Path,
        burn_in_checkpoint: Path | None,
        loggers: Loggers | None,
        monitor: Monitor | None = None,
        pool: Pool | None = None,
        trial: Method | None = None,
    ) -> None:
        self.fabric = fabric
        self.method = method
        self.student = student
        self.optimizer = optimizer
        self.augment = augment
        self.gradients = Gradients(fabric, student, optimizer, trial)
        self.update = Update(fabric, student, optimizer, clip_norm)
        self.batches = batches
        self.set_learning_rate = set_learning_rate
        self.evaluator = evaluator
        self.num_steps = num_steps
        self.intervals = intervals
        self.seed = seed
        self.checkpoint = checkpoint
        self.burn_in_checkpoint = burn_in_checkpoint
        self.loggers = loggers
        self.monitor = monitor
        self.pool = pool
        self.state = TrainState()
        self.times = StepTimes(num_steps, semi_from)

    def fit(self) -> bool:
        """Train from the current state to the last step.

        Returns:
            False where it was asked to stop (SIGTERM, Ctrl-C) and has saved its state before the end.

        Raises:
            RunError: the gradients are not finite step after step.
            DataError: more than 5% of the images can't be read.
        """
        try:
            with (
                StopRequest(self.fabric.device) as stop,
                ProgressLine(self.num_steps, self.state.step, quiet=not self.fabric.is_global_zero) as progress,
            ):
                return self._loop(progress, stop)
        finally:
            if self.loggers:
                self.loggers.finalize("finished")

    def _loop(self, progress: ProgressLine, stop: StopRequest) -> bool:
        self._keep_burn_in()
        self._look_at_pool(progress)
        watch = Stopwatch()
        for batches in self.batches(range(self.state.step, self.num_steps)):
            step = batches[0].step
            waited = watch.lap()
            metrics = self._train_step(step, batches, progress)
            self.state.step = step + 1
            seconds = waited + watch.lap()
            self.times.observe(step, seconds)
            progress.advance(step)
            if self.monitor:
                for line in self.monitor.observe_step(step, metrics | {"skipped_steps": self.state.skipped_steps}):
                    progress.say(line)
            if self._is_due(step, self.intervals.log):
                metrics |= self._measure(batches, seconds, waited)
                self._log(metrics, step)
                health = self.monitor.state if self.monitor else None
                progress.report(step, metrics, self.times.remaining(step), health)
            if self._is_due(step, self.intervals.evaluate) or step + 1 == self.intervals.burn_in:
                self._evaluate(step, progress)
            self._keep_burn_in()
            self._look_at_pool(progress)
            stops = stop.is_due()
            if stops or self._is_due(step, self.intervals.checkpoint):
                self.save()
            if stops:
                progress.say(f"stopped at step {step + 1} as asked; its state is saved")
                return False
            watch.lap()
        return True

    def rehearse(self, steps: range) -> list[tuple[float, float]]:
        """Seconds of each of some steps: its own, and of waiting for its images; the state is worth nothing afterwards.

        Args:
            steps: of one kind, as they would come in the run.
        """
        seconds, watch = [], Stopwatch()
        with ProgressLine(self.num_steps, 0, quiet=True) as progress:
            for batches in self.batches(steps):
                waited = watch.lap()
                self._train_step(batches[0].step, batches, progress)
                seconds.append((watch.lap(), waited))
        return seconds

    def rehearse_evaluation(self, step: int) -> None:
        """Evaluate, draw and log once, as after that step."""
        with ProgressLine(self.num_steps, 0, quiet=True) as progress:
            self._evaluate(step, progress)

    def _train_step(self, step: int, batches: list[TrainBatch], progress: ProgressLine) -> dict[str, float]:
        self.set_learning_rate(step)
        self._count_unreadable(batches, progress)
        # Dropout and stochastic depth of a backbone then depend on step and rank alone, and a resumed run repeats them.
        seed = int(np.random.SeedSequence([self.seed, step, self.fabric.global_rank]).generate_state(1)[0])
        metrics, self.state.pieces = self.gradients.of(
            self.method, self.augment, batches, self.state.pieces, seed, progress.say
        )
        if not self.update.apply(self.method, step, progress.say):
            self.state.skipped_steps += 1
        return metrics

    def _count_unreadable(self, batches: list[TrainBatch], progress: ProgressLine) -> None:
        seen = 0
        failures: list[str] = []
        for batch in batches:
            for part in (batch.labeled, batch.unlabeled):
                if part is not None:
                    seen += len(part)
                    failures += part.failures
        total = sum_over_ranks(torch.tensor([seen, len(failures)], device=self.fabric.device)).tolist()
        if total[1]:
            failures = gather_lists(failures)
        for failure in failures:
            progress.say(f"skipped: {failure}")
        self.state.count_images(total[0], total[1], failures)

    def _measure(self, batches: list[TrainBatch], seconds: float, waited: float) -> dict[str, float]:
        images = sum(len(b.labeled) + (len(b.unlabeled) if b.unlabeled else 0) for b in batches)
        return {
            "lr": self.optimizer.param_groups[-1]["lr"],
            "images_per_second": images * world_size() / seconds,
            "data_wait": waited / seconds,
            "memory_gb": memory_gb(self.fabric.device),
            "skipped_steps": self.state.skipped_steps,
            "images_unreadable": self.state.images_unreadable,
        }

    def _evaluate(self, step: int, progress: ProgressLine) -> None:
        metrics = self.evaluator.look(
            self.method.evaluation_model,
            self.student,
            step + 1,
            self.state.best_ap,
            draws=self.fabric.is_global_zero,
        )
        is_best = metrics["valid_AP"] > self.state.best_ap
        self.state.best_ap = max(metrics["valid_AP"], self.state.best_ap)
        progress.say(self.evaluator.describe(metrics, step + 1, is_best=is_best))
        if self.monitor:
            for line in self.monitor.observe_evaluation(step, metrics["valid_AP"], metrics.get("valid_AP_student")):
                progress.say(line)
        self._log(metrics, step)

    def _log(self, metrics: dict[str, float], step: int) -> None:
        if self.loggers:
            self.loggers.log_metrics(metrics | (self.monitor.columns() if self.monitor else {}), step + 1)

    def _is_due(self, step: int, every: int) -> bool:
        return (step + 1) % every == 0 or step + 1 == self.num_steps

    def save(self, path: Path | None = None) -> None:
        """Write the checkpoint; to another place where one is given."""
        if self.fabric.is_global_zero:
            save_checkpoint(
                path or self.checkpoint,
                {
                    "train": vars(self.state).copy(),
                    "student": self.student.module.state_dict(),
                    "method": self.method.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "precision": self.fabric.strategy.precision.state_dict(),
                    "monitor": self.monitor.state_dict() if self.monitor else None,
                    "pool": self.pool.state_dict() if self.pool else None,
                    "num_threads": torch.get_num_threads(),
                },
            )
        self.fabric.barrier()

    def resume(self) -> None:
        """Go on exactly where the checkpoint was written."""
        state = load_checkpoint(self.checkpoint)
        try:
            self._load(state)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            raise misfit(self.checkpoint, state, error) from error

    def start_from(self, path: Path) -> None:
        """Begin where another arm of the same student and schedule kept its state, and save that as this run's own.

        What its method doesn't know is as new here, and its best AP is not this run's.
        """
        state = load_checkpoint(path)
        state["method"] = self.method.state_dict() | state["method"]
        reached, state["train"]["best_ap"] = state["train"]["best_ap"], -math.inf
        self._load(state)
        if self.monitor:
            self.monitor.observe_evaluation(self.state.step - 1, reached)
        if self.fabric.is_global_zero:
            self.evaluator.draw(self.student, self.state.step)
        self.save()

    def _keep_burn_in(self) -> None:
        if self.burn_in_checkpoint is not None and self.state.step == self.intervals.burn_in:
            self.save(self.burn_in_checkpoint)

    def _look_at_pool(self, progress: ProgressLine) -> None:
        # Before a checkpoint is written, so that it holds what was found.
        if self.pool and self.times.semi_from <= self.state.step < self.num_steps:
            self.pool.look(self.method.evaluation_model, progress.say)

    def _load(self, state: dict[str, Any]) -> None:
        # Sums of floats depend on how many threads share them.
        torch.set_num_threads(state["num_threads"])
        self.student.module.load_state_dict(state["student"])
        self.method.load_state_dict(state["method"])
        # What it remembers, not the config's rates of then.
        load_memory(self.optimizer, state["optimizer"], self.student.module)
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.state = TrainState(**state["train"])
        # None of another arm, and none in a checkpoint of an earlier version.
        if self.monitor and state.get("monitor"):
            self.monitor.load_state_dict(state["monitor"])
        if self.pool and state.get("pool"):
            self.pool.load_state_dict(state["pool"])
