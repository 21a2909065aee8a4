"""DualQueue beside collections.deque, and the traps that other queues fall into."""

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference.small import make_batch, small
from userlib.config import ObjectiveConfig
from userlib.errors import UserError
from userlib.model.contrast import MomentumContrast
from userlib.model.objective import uto_negative
from userlib.model.queue import EMPTY, DualQueue
from userlib.model.user import USER


def keys(count, first=0):
    """Keys that tell their own number: pictures +n, captions -n."""
    numbers = torch.arange(first, first + count).float()
    return numbers.unsqueeze(1).expand(-1, 2), -numbers.unsqueeze(1).expand(-1, 2), numbers.long()


@given(st.integers(0, 9), st.lists(st.integers(0, 14), max_size=12))
def test_queue_size_not_a_multiple_of_the_batch(size, batches):
    """Any K, any batch, also one larger than K: the same keys as a deque of that length, in both modalities."""
    queue, plain, count = DualQueue(size, 2), deque(maxlen=size), 0
    for number, batch in enumerate(batches, start=1):
        queue.enqueue(*keys(batch, count))
        plain.extend((n, number) for n in range(count, count + batch))
        count += batch
        assert queue.filled == len(plain)
        assert int(queue.pointer) == (count % size if size else 0)
    held = sorted(zip(queue.ids.tolist(), queue.enqueued_at.tolist(), strict=True))
    wanted = sorted(list(plain) + [(EMPTY, 0)] * (size - len(plain)))
    assert held == wanted
    filled = queue.ids != EMPTY
    assert (queue.images[filled, 0] == queue.ids[filled]).all()
    assert (queue.texts[filled, 0] == -queue.ids[filled]).all()
    assert sorted(queue.ages().tolist()) == sorted(len(batches) - born for _, born in plain)


def test_ids_are_whole_numbers_of_any_type():
    encoders = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    model, x = MomentumContrast(*encoders, dim=4, queue_size=8), torch.randn(4, 3)
    for dtype in (torch.int32, torch.uint8, torch.int64):
        model(x, x, torch.arange(4).to(dtype))
    assert model.queue.ids.tolist() == [*range(4)] * 2 and len(model.queue.ages()) == 8
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        UserError, match="an image id is -1, and the queue marks its empty slots by -1.*from 0 up"
    ):
        model(x, x, torch.arange(4) - 1)
    with pytest.raises(UserError, match=r"the image ids have the type torch.float32; give whole numbers"):
        model(x, x, torch.arange(4.0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_queue_size_in_the_checkpoint_differs():
    with pytest.raises(UserError, match="queue has 64 slots and the model's 32.*queue_size to 64"):
        DualQueue(32, 4).load_state_dict(DualQueue(64, 4).state_dict())
    saved, model = USER(small(queue_size=64)), USER(small(queue_size=32))
    with pytest.raises(UserError, match="64 slots and the model's 32"):
        model.load_state_dict(saved.state_dict())


def test_unfilled_slots_are_no_negatives():
    """Empty: the negative part is exactly 0 with zero gradient. One filled slot changes it."""
    queue = DualQueue(8, 2)
    query = torch.tensor([[0.6, 0.8], [0.0, 1.0]]).requires_grad_()
    ids = torch.tensor([100, 101])
    part = lambda: uto_negative(query @ queue.texts.t(), queue.ignore_mask(ids), mu=90.0, gamma=0.5)
    assert (part() == 0).all()
    part().sum().backward()
    assert (query.grad == 0).all()
    queue.enqueue(torch.ones(1, 2), torch.tensor([[0.6, 0.8]]), torch.tensor([7]))
    assert (part() > 0.2).all()
    part().sum().backward()
    assert (query.grad != 0).any()


def test_an_empty_queue_leaves_the_positives_of_the_loss():
    model, batch = USER(small(guide_dropout=0.0)).eval(), make_batch(small(), [0, 1, 2])
    empty = float(model(batch).queue_loss)
    positives = USER(small(queue_size=0, guide_dropout=0.0)).eval()
    positives.load_state_dict({k: v for k, v in model.state_dict().items() if "queue" not in k}, strict=False)
    assert empty == pytest.approx(float(positives(batch).queue_loss), abs=1e-7)


def test_keys_of_the_own_image_in_the_queue_are_no_negatives():
    """Zero gradient through that logit; with the mask off there is one."""
    queue = DualQueue(4, 2)
    queue.enqueue(*keys(3, first=5)[:2], torch.tensor([5, 6, 5]))
    ids = torch.tensor([5, 9])
    for same, own in ((True, 0.0), (False, 1.0)):
        logits = torch.full((2, 4), 0.6).requires_grad_()
        uto_negative(logits, queue.ignore_mask(ids, same_image=same), mu=90.0, gamma=0.5).sum().backward()
        assert ((logits.grad[0, [0, 2]] > 0).float() == own).all()
        assert (logits.grad[0, 1] > 0) and (logits.grad[1, :3] > 0).all()
        assert (logits.grad[:, 3] == 0).all()  # the empty slot


def test_the_model_counts_and_masks_own_keys():
    config = small()
    model, batch = USER(config, ObjectiveConfig(mu=10.0, gamma=-1.0)), make_batch(config, [1, 2, 3])
    assert model(batch).masked_keys == 0
    assert model(make_batch(config, [3, 1, 8], seed=1)).masked_keys == 2
    model = USER(config, ObjectiveConfig(mask_same_image=False))
    model(batch)
    assert model(batch).masked_keys == 0


def test_own_key_is_enqueued_after_the_loss():
    """The own key is absent from the negatives: the loss of the first batch is that of an empty queue."""
    config = small(guide_dropout=0.0)
    objective = ObjectiveConfig(mu=10.0, gamma=-1.0, mask_same_image=False)
    model, batch = USER(config, objective), make_batch(config, [0, 1, 2])
    model.eval()
    empty = float(model(batch).queue_loss)
    model.train()
    first = model(batch)
    assert float(first.queue_loss) == pytest.approx(empty, abs=1e-6)
    assert model.queue.filled == 3  # and both modalities are there once
    assert int(model.queue.step) == 1
    model.eval()
    assert float(model(batch).queue_loss) > empty + 0.1


def test_queue_changed_before_backward():
    """Enqueueing between loss and backward neither fails nor changes the gradient."""
    queue = DualQueue(6, 2)
    queue.enqueue(*keys(6))
    grads = []
    for between in (False, True):
        query = torch.tensor([[0.6, 0.8]]).requires_grad_()
        loss = (query @ queue.texts.t()).square().sum() + (query @ queue.images.t()).square().sum()
        if between:
            queue.enqueue(*keys(4, first=50))
        loss.backward()
        grads.append(query.grad)
    assert torch.equal(*grads)
    model = USER(small())
    for step in range(3):
        output = model(make_batch(small(), [step, 10 + step], seed=step))  # enqueues before we go backward
        output.loss.backward()


def test_keys_enter_both_queues_side_by_side_and_detached():
    config = small(guide_dropout=0.0)
    model, batch = USER(config), make_batch(config, [4, 5])
    model(batch)
    queue = model.queue
    assert queue.ids.tolist() == [4, 5, EMPTY, EMPTY, EMPTY, EMPTY]
    torch.testing.assert_close(queue.images[:2], model.image_momentum_encoder(batch.tokens))
    torch.testing.assert_close(
        queue.texts[:2], model.text_momentum_encoder(batch.input_ids, batch.attention_mask)
    )
    assert not queue.images.requires_grad and queue.images.dtype == torch.float32


def test_negatives_are_of_the_other_modality():
    """An image query meets caption keys, a caption query image keys."""
    config = small(guide_dropout=0.0)
    objective = ObjectiveConfig(mu=10.0, gamma=0.0)
    model, batch = USER(config, objective).eval(), make_batch(config, [0])
    v, t = model.encode_image(batch.tokens), model.encode_text(batch.input_ids, batch.attention_mask)
    far = -torch.nn.functional.normalize(v + t, dim=1)  # from both
    with torch.no_grad():
        for images, texts in (
            (far, v),
            (t, far),
        ):  # near the picture among captions, near the caption among pictures
            assert (v * far).sum() < 0 and (t * far).sum() < 0
            model.queue = DualQueue(config.queue_size, config.embed_dim)
            alone = float(model(batch).queue_loss)
            model.queue.enqueue(images, texts, torch.tensor([9]))
            assert float(model(batch).queue_loss) > alone + 0.5


def test_unequal_keys_and_negative_sizes_are_errors():
    with pytest.raises(UserError, match="2 image keys, 3 caption keys and 2 ids"):
        DualQueue(4, 2).enqueue(torch.zeros(2, 2), torch.zeros(3, 2), torch.zeros(2, dtype=torch.long))
    with pytest.raises(UserError, match="-1"):
        DualQueue(-1, 2)


@pytest.mark.parametrize("size", [0, 4])
def test_a_refused_batch_leaves_the_queue_as_it_was(size):
    queue = DualQueue(size, 2)
    with pytest.raises(UserError, match="2 image keys, 3 caption keys and 1 ids"):
        queue.enqueue(torch.zeros(2, 2), torch.zeros(3, 2), torch.zeros(1, dtype=torch.long))
    assert int(queue.step) == int(queue.num_enqueued) == 0


def test_drawn_ids_are_those_of_no_key_in_the_queue():
    contrast = MomentumContrast(
        torch.nn.Linear(4, 3), torch.nn.Linear(4, 3), dim=3, queue_size=8, momentum=0.9
    )
    x = torch.randn(4, 4)
    contrast.step(x, x, torch.tensor([5, 6, 7, 8]))
    assert int(contrast.step(x, x).masked_keys) == 0
    assert contrast.queue.ids.unique().numel() == 8


def test_state_dict_holds_the_whole_queue():
    queue, other = DualQueue(5, 2), DualQueue(5, 2)
    queue.enqueue(*keys(3))
    queue.enqueue(*keys(4, first=3))
    other.load_state_dict(queue.state_dict())
    for q in (queue, other):
        q.enqueue(*keys(3, first=7))
    assert all(torch.equal(a, b) for a, b in zip(queue.buffers(), other.buffers(), strict=True))
    assert int(other.pointer) == 0 and other.filled == 5
