"""Two processes with half the batch each do what one does with the whole."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from softdet.semi.supervised import Supervised
from softdet.semi.teacher import Teacher

METHODS = ("supervised", "soft_teacher", "accumulated", "mixup", "dense", "automatic")
FREE = "free_batchnorm"


def one_step(method: Any, batches: list[Any]) -> dict[str, Any]:
    """A step's gradients, summed losses and what the method is after it."""
    method.student.zero_grad()
    losses: dict[str, Tensor] = {}
    for output in method.step(batches):
        output.loss.backward()
        for name, loss in output.losses.items():
            losses[name] = losses.get(name, torch.zeros(())) + loss
    gradients = {name.removeprefix("module."): p.grad.clone() for name, p in method.student.named_parameters()}
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter -= 0.1 * parameter.grad
    assert method.after_optimizer_step()
    return {"gradients": gradients, "losses": losses, "state": method.state_dict()}


def one_rank(rank: int, folder: Path) -> None:
    """A process of two; what it works on and what comes out lie in the folder."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    for name in (*METHODS, FREE):
        method, batches = torch.load(folder / f"{name}_{rank}.pt", weights_only=False)
        method.student = DistributedDataParallel(method.student)
        torch.save(one_step(method, batches), folder / f"{name}_{rank}_done.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory, make_method, make_model, make_batch) -> dict[str, list[dict[str, Any]]]:
    """For each method the result of one process, and those of the two."""
    folder = tmp_path_factory.mktemp("ranks")
    batch = make_batch(8)
    soft = make_method()
    cases = {
        "supervised": (Supervised(soft.student, soft.teacher), 1),
        "soft_teacher": (soft, 1),
        "accumulated": (soft, 2),
        "mixup": (make_method(mixup=True), 2),
        "dense": (make_method(class_targets="dense", score_threshold=1.0, box_score_threshold=0.3), 2),
        "automatic": (make_method(score_threshold=None), 2),
        FREE: (Supervised(free := make_model(1, freeze_batchnorm=False), Teacher(free, 0.9)), 1),
    }
    expected = {}
    for name, (method, pieces) in cases.items():
        for rank, half in enumerate(batch.split(2)):
            torch.save((method, half.split(pieces)), folder / f"{name}_{rank}.pt")
        expected[name] = one_step(copy.deepcopy(method), [batch])
    torch.multiprocessing.spawn(one_rank, args=(folder,), nprocs=2)
    return {
        name: [expected[name], *(torch.load(folder / f"{name}_{rank}_done.pt") for rank in range(2))] for name in cases
    }


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_give_the_gradients_of_one(results, name: str) -> None:
    whole, *ranks = (result["gradients"] for result in results[name])
    for gradients in ranks:
        assert gradients.keys() == whole.keys()
        for key, gradient in whole.items():
            atol = 1e-5 * gradient.abs().max().item()
            torch.testing.assert_close(gradients[key], gradient, atol=atol, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", METHODS)
def test_the_mean_of_the_processes_losses_is_the_loss_of_one(results, name: str) -> None:
    whole, first, second = (result["losses"] for result in results[name])
    assert len(whole) == (2 if name == "supervised" else 4)
    for key, loss in whole.items():
        assert loss > 0
        torch.testing.assert_close((first[key] + second[key]) / 2, loss, rtol=1e-4, atol=0)
        assert first[key] != second[key], "the halves differ, or else the test could not fail"


@pytest.mark.parametrize("name", METHODS)
def test_both_processes_have_the_same_teacher(results, name: str) -> None:
    whole, first, second = (result["state"]["teacher"] for result in results[name])
    assert whole["num_updates"] == first["num_updates"] == second["num_updates"] == 1
    for key, tensor in whole["model"].items():
        assert torch.equal(first["model"][key], second["model"][key])
        torch.testing.assert_close(first["model"][key], tensor, atol=1e-5, rtol=1e-4)


def test_both_processes_have_the_same_statistics_of_a_free_batchnorm(results, make_model) -> None:
    whole, first, second = (result["state"]["teacher"]["model"] for result in results[FREE])
    start = make_model(1, freeze_batchnorm=False).state_dict()
    moved = [key for key in start if key.endswith(("running_mean", "running_var"))]
    assert moved
    for key in moved:
        assert torch.equal(first[key], second[key])
        assert not torch.equal(first[key], start[key])
        # Each process has half of the images, and the first one's count.
        assert not torch.equal(first[key], whole[key])


@pytest.mark.parametrize("name", ["soft_teacher", "accumulated", "mixup"])
def test_both_processes_read_the_threshold_off_all_boxes(results, name: str) -> None:
    whole, first, second = (result["state"]["labeler"]["uncertainty_threshold"]["recent"] for result in results[name])
    assert len(whole) > 4
    for recent in (first, second):
        torch.testing.assert_close(recent, whole, atol=1e-5, rtol=1e-4)


def test_both_processes_match_the_labels_by_all_boxes_and_images(results) -> None:
    whole, first, second = (result["state"]["labeler"]["score_thresholds"] for result in results["automatic"])
    assert whole["num_images"].sum() == 8
    assert (whole["value"] < 1).any()
    for state in (first, second):
        assert state["num_images"].sum() == 8
        torch.testing.assert_close(state["value"], whole["value"])
