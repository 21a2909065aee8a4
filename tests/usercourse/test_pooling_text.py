"""Notebook 05: GPO by hand and the learner's pieces equal the library's, the padding test finds what reads padding, and
further wrong answers are told.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from usercourse.checks import exercises
from usercourse.exercises.pooling import turn
from userlib.config import ModelConfig
from userlib.model.bigru import padded_bigru
from userlib.model.encoders import TextEncoder
from userlib.model.pooling import GPO, max_pool, mean_pool, position_codes

NAME = "05_pooling_and_text"
PIECES = ("rank_codes", "pool_ranks", "attend", "turn")


@pytest.mark.parametrize("n", [1, 2, 7, 36])
def test_gpo_by_hand_is_the_library_s(lift, n):
    torch.manual_seed(n)
    pool, vectors = GPO(), torch.randn(n, 5)
    with torch.no_grad():
        mine, weights = lift(NAME).gpo_by_hand(pool, vectors)
        assert torch.allclose(mine, pool(vectors[None])[0], atol=1e-5)
        assert torch.allclose(weights, pool.full(n), atol=1e-6)


def test_the_learner_s_codes_are_the_library_s(notebooks):
    assert torch.allclose(notebooks.solve(NAME, "rank_codes")(36, 32), position_codes(36, 32), atol=1e-4)


def test_mean_and_maximum_are_two_settings_of_the_ranks(notebooks):
    pool, vectors = notebooks.solve(NAME, "pool_ranks"), torch.randn(6, 4)
    assert torch.allclose(pool(vectors, torch.zeros(6)), mean_pool(vectors[None])[0], atol=1e-5)
    first = torch.tensor([9.0, 0, 0, 0, 0, 0])
    assert torch.allclose(pool(vectors, first), max_pool(vectors[None])[0], atol=1e-5)


def test_the_learner_s_attention_is_torch_s(notebooks):
    attend = notebooks.solve(NAME, "attend")
    Q, K, V = torch.randn(3, 2, 5, 8)
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    expected = F.scaled_dot_product_attention(Q, K, V, attn_mask=mask.unsqueeze(1).expand(-1, 5, -1))
    assert torch.allclose(attend(Q, K, V, mask), expected, atol=1e-5)


def test_a_gru_over_turned_captions_is_the_library_s_backward_direction(notebooks):
    turned = notebooks.solve(NAME, "turn")
    gru, x, lengths = (
        nn.GRU(3, 4, batch_first=True, bidirectional=True),
        torch.randn(2, 5, 3),
        torch.tensor([5, 2]),
    )
    one = nn.GRU(3, 4, batch_first=True)
    one.load_state_dict(
        {k.removesuffix("_reverse"): v for k, v in gru.state_dict().items() if "_reverse" in k}
    )
    there = (torch.arange(5) < lengths[:, None]).unsqueeze(-1)
    with torch.no_grad():
        mine = turned(one(turned(x, lengths))[0], lengths) * there
        assert torch.allclose(mine, padded_bigru(gru, x, lengths)[..., 4:], atol=1e-5)
        wrong = one(x.flip(1))[0].flip(1) * there
        assert not torch.allclose(wrong, padded_bigru(gru, x, lengths)[..., 4:], atol=1e-3)


def test_turning_is_its_own_inverse():
    x, lengths = torch.randn(3, 6, 2), torch.tensor([6, 1, 4])
    assert torch.equal(turn(turn(x, lengths), lengths), x)


@pytest.mark.parametrize("text", ["bag", "gru", "bert"])
def test_a_caption_alone_is_the_caption_in_a_padded_batch(text):
    torch.manual_seed(0)
    sizes = {"text_layers": 2, "text_heads": 2} if text == "bert" else {}
    encoder = TextEncoder(
        ModelConfig(text=text, vocab_size=20, embed_dim=6, text_width=8, word_width=4, **sizes)
    ).eval()
    words = torch.tensor([[5, 9, 3, 7], [8, 2, 0, 0]])
    with torch.no_grad():
        batch = encoder(words, words > 0)
        alone = encoder(words[1:, :2], words[1:, :2] > 0)
    assert torch.allclose(batch[1], alone[0], atol=1e-5)


FURTHER = {
    "rank_codes": lambda n, width: torch.zeros(n, width),
    "pool_ranks": lambda vectors, scores: vectors.amax(0),
    "attend": lambda Q, K, V, mask: V,
    "turn": lambda x, lengths: x,
}


@pytest.mark.parametrize("name", PIECES)
def test_nine_wrong_answers_are_told(name):
    assert len(exercises()[name].mistakes) >= 8
    verdict = exercises()[name].judge(FURTHER[name])
    assert verdict.state == "wrong"
    assert "the answer is" in verdict.message
