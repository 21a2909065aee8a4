"""Figures and the calculation of notebook 14, and what its learner writes."""

import pytest
import torch

from usercourse import speed
from userlab.bench.crossattention import sets_of_vectors
from userlib.model.scorers import scan_t2i

SHAPE = {"share": 128, "embed_dim": 1024, "keys": 2048, "pairs": 145_000, "parameters": 1000}


def test_the_learner_s_loop_is_the_library_s(lift):
    regions, words, mask, lengths = sets_of_vectors(4, 6, 16)
    slow = lift("14_speed_and_scale").t2i_slow
    wanted = torch.stack([slow(regions, words[j, : lengths[j]]) for j in range(6)], 1)
    torch.testing.assert_close(scan_t2i(regions, words, mask), wanted, rtol=0, atol=1e-5)


def test_one_gpu_receives_nothing_and_ten_what_nine_send():
    alone, ten = (speed.many(gpus=n, **SHAPE) for n in (1, 10))
    assert alone.embedding_bytes == alone.gradient_bytes == 0
    assert (alone.joint, alone.steps, alone.key_age) == (128, 1132, 16.0)
    assert ten.embedding_bytes == 9 * 128 * (4 * 1024 * 4 + 8)
    assert ten.gradient_bytes == 7200
    assert ten.negatives == 1279 + 2048


def test_sentences_say_what_is_drawn():
    figure, said = speed.bars({"slow": 2000.0, "quick": 0.01}, x_label="s")
    assert said == "The fastest is quick at 10 ms; slow takes 200,000 times as long."
    assert figure.axes[0].get_xscale() == "log" and figure.axes[0].texts[0].get_text() == " 2,000 s"
    figure, said = speed.bars({"slow": 3.0, "quick": 2.0}, x_label="s")
    assert said == "The fastest is quick at 2.00 s; slow takes 1.5 times as long."
    assert figure.axes[0].get_xscale() == "linear" and figure.axes[0].get_xlim()[0] == 0
    _, said = speed.trade([10, 20], [90.0, 96.0], [0.1, 0.2], exact_ms=0.5)
    assert "a width of 20 is the first with 95 %, at 0.200 ms against 0.500 ms" in said
    assert "no width" in speed.trade([10], [90.0], [0.1], exact_ms=0.5)[1]
    assert "On 10 GPUs a step compares 1,280 pairs" in speed.traffic(10, 2048)[1]


@pytest.mark.parametrize("gpus", [1, 128])
def test_the_demo_draws_at_its_ends(gpus):
    figure, said = speed.traffic(gpus, 65_536)
    assert figure.axes and f"{gpus} GPU" in said


def test_a_simulated_device_works_in_the_background():
    device = speed.SimulatedDevice(0.5, [0.02, 0.03])
    device.run()
    assert device.clock() == pytest.approx(0.5 + device.LAUNCH)
    device.wait()
    device.wait()
    assert device.clock() == pytest.approx(0.5 + 0.02 + device.LAUNCH)
    for _ in range(3):
        device.run()
    device.wait()
    assert device.clock() == pytest.approx(0.5 + 0.02 + 0.03 + 0.02 + 0.03 + 2 * device.LAUNCH)


def test_the_clock_of_the_hunt_stops_too_early_and_the_solution_s_does_not(lift, notebooks):
    name = "14_speed_and_scale"
    for function, wanted in ((lift(name).buggy_time, 0.0501), (notebooks.solve(name, "time_of"), 0.0201)):
        device = speed.SimulatedDevice(0.5, [0.02])
        assert function(device.run, device.wait, device.clock, 10) == pytest.approx(wanted)
