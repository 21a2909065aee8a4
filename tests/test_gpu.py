"""One training step on a GPU; and that tests which need one are skipped by name without."""

import pytest
import torch

from tests.reference.small import make_batch, small
from userlib.model.user import USER


@pytest.mark.gpu
def test_a_step_on_a_gpu_has_the_loss_and_the_gradients_of_a_cpu():
    config = small(enhancement="sge+cge")
    batch = make_batch(config, [0, 1, 2, 2, 3], mask=True)
    model = USER(config).eval()
    losses, norms = [], []
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        loss = model(batch.to(device)).loss
        loss.backward()
        losses.append(loss.item())
        norms.append([p.grad.norm().item() for p in model.parameters() if p.grad is not None])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert norms[1] == pytest.approx(norms[0], rel=1e-2, abs=1e-5)


def test_a_test_marked_gpu_is_skipped_by_name_without_one(request, monkeypatch):
    conftest = next(p for p in request.config.pluginmanager.get_plugins() if hasattr(p, "OFFLINE"))

    class Marked:
        def get_closest_marker(self, name):
            return name == "gpu"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(pytest.skip.Exception, match="needs CUDA"):
        conftest.pytest_runtest_setup(Marked())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    conftest.pytest_runtest_setup(Marked())
