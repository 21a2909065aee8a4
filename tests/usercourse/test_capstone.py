"""Notebook 08: what the learner assembles, lifted from the notebook with its folded solutions, is the library's USER;
each typical wrong piece is seen by the same three steps; and further wrong answers are told by the checks.
"""

import ast
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.reference.small import make_batch, shake, small
from usercourse.capstone import graph_size, ready
from usercourse.checks import exercises
from userlib.config import ObjectiveConfig, TrainingConfig
from userlib.model.user import USER
from userlib.training.schedule import make_optimizer

NAME = "08_user_from_scratch"
PIECES = ("move_regions", "sorted_sum", "both_losses", "enqueue", "train_step")
CONFIG = small(enhancement="sge", guide_dropout=0.0, queue_size=7)
HIDDEN = {  # wrong, and yet no difference in three steps:
    "_mask_for_ranks",  # regions and words have no gaps
    "_all_ranks_weighed",  # the vector is shorter, and then brought to unit norm
}


@pytest.fixture
def scratch(notebooks):
    """The notebook's definitions with its solutions in place of the stubs, and whatever else is given."""

    def make(**pieces):
        space = notebooks.definitions(NAME)
        for name, code in notebooks.solutions_of(NAME).items():
            exec(compile(code, name, "exec"), space)
        space.update(pieces)
        return SimpleNamespace(**space)

    return make


def largest(ours, theirs):
    """The largest difference; NaN counts as infinite."""
    pairs = zip(ours, theirs, strict=True)
    return max(torch.nan_to_num((a - b).abs().max().double(), nan=math.inf).item() for a, b in pairs)


def three_steps(nb, seed=0):
    """The largest difference of losses, queues, pointers and weights over three steps, from the same shaken weights."""
    torch.manual_seed(seed)
    library = shake(USER(CONFIG, ObjectiveConfig(mu=30.0, gamma=0.3)).double(), seed=seed).train()
    sizes = {"D": 8, "vocabulary": 30, "word": 7, "hidden": 12, "E": 10, "K": 7, "m": 0.9, "dropout": 0.0}
    model = nb.User(**sizes).double().train()
    with torch.no_grad():
        for mine, theirs in zip(model.parameters(), library.parameters(), strict=True):
            assert mine.shape == theirs.shape
            mine.copy_(theirs)
    training = TrainingConfig(lr=0.01)
    ours, theirs = nb.make_optimizer(model, lr=0.01), make_optimizer(library, training)
    for group in theirs.param_groups:
        group["lr"] = 0.01 * group["factor"]
    worst = 0.0
    for step, ids in enumerate(([3, 1, 3, 2], [2, 5, 6, 1], [6, 6, 2, 9])):
        batch = make_batch(CONFIG, ids, seed=10 * seed + step, dtype=torch.float64)
        losses = nb.train_step(
            model, ours, (8 * batch.tokens, batch.input_ids, batch.attention_mask, batch.image_ids)
        )
        batch.tokens = 8 * batch.tokens
        output = library(batch)
        output.loss.backward()
        nn.utils.clip_grad_norm_(library.parameters(), 2.0)
        theirs.step()
        theirs.zero_grad()
        queue = library.queue
        worst = max(
            worst,
            largest(torch.tensor(losses), torch.stack([output.batch_loss, output.queue_loss])),
            largest((model.V, model.T, model.held), (queue.images, queue.texts, queue.ids)),
            largest(model.parameters(), library.parameters()),
            abs(model.pointer - int(queue.pointer)),
        )
    return worst


@pytest.mark.parametrize("seed", range(3))
def test_three_steps_equal_the_library_s(scratch, seed):
    assert three_steps(scratch(), seed) < 1e-5


@pytest.mark.parametrize("name", PIECES)
def test_each_typical_wrong_piece_shows_within_three_steps(scratch, name):
    for idea, wrong in exercises()[name].mistakes.items():
        if wrong.__name__ in HIDDEN or idea.startswith(
            "The stored keys still hang"
        ):  # the step makes keys without one
            assert three_steps(scratch(**{name: wrong})) < 1e-5, idea
            continue
        try:
            seen = any(not three_steps(scratch(**{name: wrong}), seed) < 1e-5 for seed in range(2))
        except (RuntimeError, ValueError, TypeError):
            continue  # it does not even run
        assert seen, idea


def test_the_whole_model_has_at_most_150_lines(notebooks):
    tree = ast.parse(notebooks.source(NAME))
    left_out = {*PIECES, "leaky_enqueue", "gap"}
    parts = [
        ast.get_source_segment(notebooks.source(NAME), node)
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name not in left_out
    ]
    text = "\n".join([*parts, *notebooks.solutions_of(NAME).values()])
    lines = [line for line in text.splitlines() if line.strip()]
    assert 100 < len(lines) <= 150
    assert "userlib" not in text
    assert "usercourse" not in text


def test_the_copies_stay_in_evaluation_mode_and_never_learn(scratch):
    model = scratch().User(D=8, vocabulary=30, word=7, hidden=12, E=10).train()
    assert model.image.training
    assert not model.image_keys.sge.dropout.training
    assert not any(p.requires_grad for keys in (model.image_keys, model.text_keys) for p in keys.parameters())


def test_what_is_not_correct_is_stood_in_for(capsys):
    def sorted_sum(vectors, scores, mask):
        return exercises()["sorted_sum"].right(vectors, scores, mask)

    mine, theirs = ready(sorted_sum=sorted_sum, enqueue=...)
    assert mine is sorted_sum
    assert theirs is exercises()["enqueue"].right
    assert capsys.readouterr().out == "Your own: sorted_sum. The solutions stand in for: enqueue.\n"


def test_the_size_of_a_graph_counts_its_operations():
    x = torch.ones(2, requires_grad=True)
    assert graph_size(x.detach()) == 0
    assert graph_size(x * 2) == 2  # the product and the leaf
    assert graph_size((x * 2) + (x * 3)) == 4


def test_the_leaking_queue_leaks_as_the_notebook_says(lift):
    nb = lift(NAME)
    assert (
        exercises()["enqueue"]
        .judge(nb.leaky_enqueue)
        .message.startswith("That is the leaking queue as it was.")
    )


def masks_of_ones(v, t, v_keys, t_keys, V, T, ids, held):
    nothing = torch.zeros(len(v), len(held), dtype=torch.bool)
    right = exercises()["both_losses"].right
    return right(v, t, v_keys, t_keys, V, T, ids, torch.where(nothing[0], held, 99))


def summed(v, t, v_keys, t_keys, V, T, ids, held):
    return sum(exercises()["both_losses"].right(v, t, v_keys, t_keys, V, T, ids, held))


FURTHER = {
    "move_regions": [
        (lambda V, w, s: V, "the answer is"),
        (lambda V, w, s: (w.unsqueeze(-1) * V).sum(1), "shape"),
        (lambda V, w, s: V + s * F.normalize(w.unsqueeze(-1) * V, dim=-1), "the answer is"),
        (lambda V, w, s: V @ w, "raised"),
    ],
    "sorted_sum": [
        (lambda vectors, scores, mask: vectors.amax(1), "the answer is"),
        (lambda vectors, scores, mask: vectors.mean(1), "the answer is"),
        (lambda vectors, scores, mask: scores.softmax(1), "shape"),
        (lambda vectors, scores, mask: vectors.sort(1)[mask], "raised"),
    ],
    "both_losses": [
        (masks_of_ones, "the answer is"),
        (summed, "tuple|number"),
        (lambda *case: exercises()["both_losses"].right(*case)[::-1], "the answer is"),
        (lambda *case: (0.0, 0.0), "the answer is"),
    ],
    "train_step": [
        (lambda model, optimizer, batch: (0.0, 0.0), "the answer is"),
        (lambda model, optimizer, batch: model.losses(*model.encode(batch), batch[-1]), "raised"),
        (lambda model, optimizer, batch: model.encode(batch)[2], "raised"),
    ],
    "enqueue": [
        (lambda *case: case[:4], "the answer is"),
        (lambda *case: (torch.cat([case[0], case[4]])[-5:], *case[1:4]), "the answer is"),
        (lambda images, texts, held, pointer, v_keys, t_keys, ids: images[ids], "yours is a tensor"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", PIECES)
def test_eight_wrong_answers_and_more_are_told(name):
    exercise = exercises()[name]
    assert len(exercise.mistakes) >= 8
    for answer, words in FURTHER[name]:
        verdict = exercise.judge(answer)
        assert verdict.state == "wrong", (name, repr(verdict))
        assert any(part in verdict.message for part in words.split("|")), (name, repr(verdict))
