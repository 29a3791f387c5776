import numpy as np
import pytest
import torch
from torch import Tensor, nn

from softdet.semi.supervised import Supervised
from softdet.semi.teacher import Teacher

LIVE = {"freeze_batchnorm": False}


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def shake(model: nn.Module, seed: int) -> None:
    """Give every parameter and buffer a new value, as training does."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        else:
            tensor.fill_(seed)


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_the_average_follows_the_formula_with_its_warm_up(make_model, decay: float) -> None:
    student = make_model(**LIVE)
    teacher = Teacher(student, decay)
    expected = {name: tensor.double().numpy() for name, tensor in teacher.model.state_dict().items()}
    names = [
        "class_head.output.bias",
        "backbone.body.conv1.0.weight",
        "backbone.body.conv1.1.running_var",
        "fpn.extra_blocks.p6.bias",
    ]
    for update in range(104):
        shake(student, update + 1)
        assert teacher.update(student)
        kept = min(decay, 1 - 1 / (update + 1))
        for name in names:
            expected[name] = kept * expected[name] + (1 - kept) * student.state_dict()[name].double().numpy()
        if update in (0, 1, 50, 99, 100, 103):
            for name in names:
                np.testing.assert_allclose(teacher.model.state_dict()[name], expected[name], atol=1e-6, err_msg=name)
    assert teacher.num_updates == 104


def test_after_the_warm_up_the_decay_is_the_one_asked_for(make_model) -> None:
    student = make_model()
    teacher = Teacher(student, 0.98)
    for _ in range(50):
        teacher.update(student)
    before = snapshot(teacher.model)
    with torch.no_grad():
        student.class_head.output.bias += 100.0
    teacher.update(student)
    moved = teacher.model.class_head.output.bias - before["class_head.output.bias"]
    torch.testing.assert_close(moved, torch.full_like(moved, 2.0), rtol=1e-4, atol=0)


def test_the_first_update_takes_the_student_over(make_model) -> None:
    student = make_model(**LIVE)
    teacher = Teacher(student, 0.99)
    shake(student, 5)
    teacher.update(student)
    assert same(teacher.model, student.state_dict())


def test_decay_1_never_moves_and_skips_the_warm_up(make_model) -> None:
    student = make_model()
    teacher = Teacher(student, 1.0)
    before = snapshot(teacher.model)
    for seed in range(3):
        shake(student, seed + 1)
        assert teacher.update(student)
    assert same(teacher.model, before)
    assert not same(student, before)


def test_trap_6_batchnorm_statistics_follow_and_its_counter_is_copied(make_model) -> None:
    student = make_model(**LIVE)
    teacher = Teacher(student, 0.9)
    teacher.num_updates = 1000
    before = snapshot(teacher.model)
    shake(student, 42)
    teacher.update(student)
    buffers = dict(teacher.model.named_buffers())
    statistics = [name for name in buffers if "running" in name]
    counters = [name for name in buffers if not buffers[name].is_floating_point()]
    assert len(statistics) > 4
    for name in statistics:
        expected = 0.9 * before[name] + 0.1 * student.state_dict()[name]
        torch.testing.assert_close(buffers[name], expected, atol=1e-6, rtol=1e-5)
    assert {int(buffers[name]) for name in counters} == {42}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["class_head.output.bias", "backbone.body.conv1.1.running_var"])
def test_trap_6_a_student_that_is_not_finite_changes_nothing(make_model, name: str, value: float) -> None:
    student = make_model(**LIVE)
    teacher = Teacher(student, 0.9)
    before = snapshot(teacher.model)
    shake(student, 3)
    student.state_dict()[name].view(-1)[-1] = value
    assert teacher.update(student) is False
    assert same(teacher.model, before)
    assert teacher.num_updates == 0
    shake(student, 4)
    assert teacher.update(student) is True


def test_statistics_that_are_not_finite_are_mended_and_the_next_step_counts(make_model) -> None:
    student = make_model(**LIVE)
    teacher = Teacher(student, 0.9)
    shake(student, 3)
    name, other = "backbone.body.conv1.1.running_var", "backbone.body.conv1.1.running_mean"
    kept = student.state_dict()[other].clone()
    student.state_dict()[name].fill_(float("inf"))
    assert teacher.update(student) is False
    assert torch.equal(student.state_dict()[name], teacher.model.state_dict()[name])
    assert torch.equal(student.state_dict()[other], kept), "what is finite stays"
    assert teacher.update(student) is True


def test_trap_6_the_teacher_stays_in_evaluation_mode_and_moves_only_when_updated(make_model, make_batch) -> None:
    student = make_model(**LIVE).train()
    method = Supervised(student, Teacher(student, 0.9))
    before = snapshot(method.teacher.model)
    for output in method.step([make_batch(unlabeled=False)]):
        output.loss.backward()
    with torch.inference_mode():
        method.evaluation_model(torch.rand(2, 3, 64, 64))
    assert not any(module.training for module in method.teacher.model.modules())
    assert same(method.teacher.model, before), "neither a step nor an evaluation moves it"
    assert not same(student, before), "while the student's BatchNorm has seen the batch"


def test_the_teacher_takes_no_gradient_and_is_a_copy(make_model) -> None:
    student = make_model()
    teacher = Teacher(student, 0.9)
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert any(parameter.requires_grad for parameter in student.parameters())
    mine = {tensor.data_ptr() for tensor in teacher.model.state_dict().values()}
    assert mine.isdisjoint(tensor.data_ptr() for tensor in student.state_dict().values())


def test_a_wrapped_student_is_followed_too(make_model) -> None:
    student = make_model(**LIVE)
    wrapped, bare = Teacher(student, 0.9), Teacher(student, 0.9)
    shake(student, 9)
    wrapped.update(nn.Sequential(student))
    bare.update(student)
    assert same(wrapped.model, bare.model.state_dict())


def test_a_restored_teacher_goes_on_with_its_warm_up(make_model) -> None:
    student = make_model(**LIVE)
    straight = Teacher(student, 0.99)
    for seed in range(3):
        shake(student, seed)
        straight.update(student)
    state = {"model": snapshot(straight.model), "num_updates": straight.state_dict()["num_updates"]}
    resumed = Teacher(make_model(5, **LIVE), 0.99)
    resumed.load_state_dict(state)
    shake(student, 7)
    for teacher in (straight, resumed):
        teacher.update(student)
    assert same(resumed.model, straight.model.state_dict())
    assert resumed.num_updates == 4
