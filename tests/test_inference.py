"""Scores do not depend on the mode that a model is in, nor on the device that it is on; its mode stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.reference.elsewhere import GPU, Elsewhere, place
from userlib.config import Config, DataConfig, ModelConfig, ObjectiveConfig, TrainingConfig
from userlib.errors import UserError
from userlib.evaluation import embed, evaluate
from userlib.evaluation.attention import attention_of
from userlib.evaluation.cross_scores import cross_scores, reranked
from userlib.inference import device_of, scoring
from userlib.model.user import USER, Loaded
from userlib.search import Index
from userlib.search.encoders import CheckpointEncoder
from userlib.search.rerank import cross_attention, scorer_reranker
from userlib.training import prepare
from userlib.training.cca_init import mean_states
from userlib.training.tracking import retrieved
from userlib.training.watching import evaluate_now, scale_stats


@pytest.fixture(scope="module")
def prepared():
    config = Config(
        data=DataConfig(
            data="scenes", sizes={"train": 4, "val": 4, "test": 6}, test_split="test", guide="clip-mini"
        ),
        model=ModelConfig(
            enhancement="sge+cge", embed_dim=8, text_width=8, word_width=4, queue_size=None, scorer="chan",
            text_enhancement="sge", region_channel_dropout=0.3, text_dropout=0.3, embed_dropout=0.3,
            guide_dropout=0.4, word_dropout=0.3,
        ),
        objective=ObjectiveConfig(name="infonce"),
        training=TrainingConfig(steps=1, batch_size=4, precision="fp32"),
    )  # fmt: skip
    return prepare(config, progress=False)


@pytest.fixture
def model(prepared):
    torch.manual_seed(0)
    model = USER(prepared.config.model, prepared.config.objective)
    model.init_from_data(torch.from_numpy(np.asarray(prepared.train.features.tokens, np.float32)))
    metadata = {"data": "scenes", "device": "cpu"}
    model.loaded = Loaded(model, prepared.tokenizer, prepared.config, metadata)
    return model


def by_search(model, prepared, encoder):
    pictures = prepared.test.split.pictures
    rerank = scorer_reranker(encoder, lambda name: pictures[int(name)])
    return (
        encoder.encode_text(["a dog", "two red balls"]),
        encoder.measured(list(pictures)),
        rerank("a dog", "031"),
    )


def by_index(model, prepared, encoder):
    hits = Index.build(prepared.test.split, encoder, progress=False).search("a dog", 6)
    return [hit.id for hit in hits], np.array([hit.score for hit in hits])


def by_regions(model, prepared, encoder):
    """The vectors of its regions and words, which are the caller's to make, in evaluation mode."""
    with scoring(model) as device:
        batch = prepared.test.batch(np.arange(4)).to(device)
        regions, _ = model.encode_regions(batch.tokens, None, batch.guide)
        words, _ = model.encode_words(batch.input_ids, batch.attention_mask)
    return cross_attention("abcd", regions, lambda text: words[0].cpu())("a dog", "db")


SCORES = {
    "embed": lambda model, prepared, encoder: embed(model, prepared.test),
    "evaluate": lambda model, prepared, encoder: list(evaluate(model, prepared.test).as_dict().values()),
    "evaluate_now": lambda model, prepared, encoder: list(
        evaluate_now(model, prepared.test, str(device_of(model))).values()
    ),
    "attention_of": lambda model, prepared, encoder: [
        list(numbers.values()) for numbers in attention_of(model, prepared.test).values()
    ],
    "cross_scores": lambda model, prepared, encoder: cross_scores(model, prepared.test).cpu().numpy(),
    "reranked": lambda model, prepared, encoder: (
        reranked(model, prepared.test, *embed(model, prepared.test), k=3).t2i
    ),
    "search": by_search,
    "index": by_index,
    "cross_attention": by_regions,
    "mean_states": lambda model, prepared, encoder: mean_states(model, prepared.test),
    "retrieved": lambda model, prepared, encoder: retrieved(model, prepared.test, str(device_of(model))),
    "scale_stats": lambda model, prepared, encoder: list(
        scale_stats(
            model,
            torch.from_numpy(np.asarray(prepared.test.features.tokens, np.float32)).to(device_of(model)),
            tuple(part.to(device_of(model)) for part in prepared.test.words(np.arange(6))),
        ).values()
    ),
}


def flat(value):
    if isinstance(value, (list, tuple)):
        return [part for one in value for part in flat(one)]
    return [value]


def assert_same(one, other, tolerance=0.0):
    one, other = flat(one), flat(other)
    assert len(one) == len(other)
    for ours, theirs in zip(one, other, strict=True):
        if isinstance(ours, str):
            assert ours == theirs
        else:
            np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)


def modes_of(model):
    return {name: part.training for name, part in model.named_modules()}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_evaluation_mode_and_the_mode_stays(name, model, prepared):
    """Also of a model whose parts are in different modes, and within autocast."""
    encoder = CheckpointEncoder(model, device="cpu")
    wanted = SCORES[name](model.eval(), prepared, encoder)
    model.train()
    model.image_encoder.projection.eval()
    modes = modes_of(model)
    assert_same(SCORES[name](model, prepared, encoder), wanted)
    assert modes_of(model) == modes
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(SCORES[name](model, prepared, encoder), wanted)


@pytest.mark.parametrize("name", SCORES)
def test_inputs_go_to_the_device_of_the_model_and_scores_come_back(name, model, prepared):
    """Tokens that are made on the CPU, as pixels are, too."""
    encoder = CheckpointEncoder(model, device="cpu")
    wanted = SCORES[name](model.eval(), prepared, encoder)
    place(model)
    encoder.device = "cuda:0"
    with Elsewhere():
        assert device_of(model) == GPU
        result = SCORES[name](model, prepared, encoder)
    assert_same(result, wanted, 1e-5)


def test_the_mode_comes_back_after_an_error(model, prepared):
    model.train()
    broken = replace(prepared.test.features, tokens=prepared.test.features.tokens[:, :, :1])
    pairs = type(prepared.test)(prepared.test.split, broken, prepared.tokenizer)
    for function in (embed, attention_of, cross_scores):
        with pytest.raises((UserError, RuntimeError), match="shape"):
            function(model, pairs)
        assert model.training and model.image_encoder.enhancement.training
