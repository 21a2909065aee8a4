"""Scorers that train, compared with their plain version, to 1e-9 in float64; masks; all pairs and single ones; mining;
how they enter the loss, and how whole splits are scored and re-ranked.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.model.test_parity import compare
from tests.reference import neighbours as plain
from tests.reference.small import make_batch, named, small
from userlib.config import Config, ModelConfig, ObjectiveConfig
from userlib.errors import UserError
from userlib.model.neighbours.cross_attention import Scorer
from userlib.model.neighbours.mining import chosen_scores, hardest
from userlib.model.neighbours.training import scorer_loss, scorer_term
from userlib.model.scorers import scan_i2t, scan_t2i
from userlib.model.user import USER
from userlib.rules import SCORERS

KINDS = SCORERS[1:]
R = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]]).bool()
W = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]]).bool()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scorer_of(kind):
    scorer = Scorer(kind).double()
    if kind == "naaf":
        with torch.no_grad():
            scorer.threshold += 0.3  # so that some words match and some do not
    return scorer


def plain_scores(kind, p, regions, words, r, w):
    def kept(rows, mask):
        return [x for x, known in zip(rows, mask, strict=True) if known]

    return torch.stack([
        torch.stack([plain.cross_attention(p, kind, kept(v, a), kept(t, b)) for t, b in zip(words, w, strict=True)])
        for v, a in zip(regions, r, strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_scorer_equals_its_plain_version(kind):
    scorer, regions, words = scorer_of(kind), draw(3, 4, 5), draw(4, 3, 5, seed=1)
    if kind == "naaf":
        compare(scorer, lambda part, v, t: part(v, t, R, W),
                lambda p, v, t: plain_scores(kind, p, v, t, R, W), [regions, words], torch.float64)  # fmt: skip
        return
    mine, theirs = ([x.clone().requires_grad_() for x in (regions, words)] for _ in range(2))
    result, wanted = scorer(*mine, R, W), plain_scores(kind, named(scorer), *theirs, R, W)
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-9)
    way = draw(3, 4, seed=3)
    (result * way).sum().backward(), (wanted * way).sum().backward()
    for x, y in zip(mine, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_single_pairs_score_as_in_the_whole(kind):
    scorer, regions, words = scorer_of(kind), draw(3, 4, 5), draw(4, 3, 5, seed=1)
    whole = scorer(regions, words, R, W)
    rows, columns = torch.tensor([0, 2, 1]), torch.tensor([3, 0, 2])
    pairs = scorer.pairs(regions[rows], words[columns], R[rows], W[columns])
    torch.testing.assert_close(pairs, whole[rows, columns])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_there_has_no_say(kind):
    scorer, regions, words = scorer_of(kind), draw(3, 4, 5), draw(4, 3, 5, seed=1)
    wanted = scorer(regions, words, R, W)
    noisy = [x.masked_fill(~m.unsqueeze(-1), 99.0).requires_grad_() for x, m in ((regions, R), (words, W))]
    result = scorer(*noisy, R, W)
    torch.testing.assert_close(result, wanted)
    result.sum().backward()
    for x, m in zip(noisy, (R, W), strict=True):
        assert (x.grad[~m] == 0).all() and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("kind, fast", [("scan-t2i", scan_t2i), ("scan-i2t", scan_i2t)])
def test_the_scorer_without_gradient_gives_the_same(kind, fast):
    regions, words = draw(3, 4, 5).float(), draw(4, 3, 5, seed=1).float()
    torch.testing.assert_close(Scorer(kind)(regions, words, R, W), fast(regions, words, W, region_mask=R))


def test_chan_by_hand_and_the_threshold_of_naaf():
    regions = torch.eye(2).unsqueeze(0)  # two regions at right angles
    words = torch.tensor([[[1.0, 0.0], [-1.0, -1.0]]])
    every = torch.ones(1, 2, dtype=torch.bool)
    low = -(0.5**0.5)
    assert float(Scorer("chan")(regions, words, None, every)) == pytest.approx((1 + low) / 2)
    naaf = Scorer("naaf")
    with torch.no_grad():
        naaf.threshold.fill_(0.25)
    score = naaf(regions, words, None, every)
    assert float(score.detach()) == pytest.approx((1 + low - 0.25) / 2)  # the second word is mismatched
    score.backward()
    assert float(naaf.threshold.grad) == pytest.approx(-0.5)


def test_another_scorer_is_an_error_that_lists_the_names():
    for make in (Scorer, lambda kind: ModelConfig(scorer=kind)):
        with pytest.raises(UserError, match="scorer is 'SCAN'.*chan, scan-t2i, scan-i2t, naaf"):
            make("SCAN")


def test_the_hardest_negatives_are_those_of_highest_score_that_count():
    scores = torch.tensor(
        [[9.0, 5.0, 1.0, 2.0], [0.0, 9.0, 3.0, 4.0], [6.0, 1.0, 9.0, 2.0], [7.0, 8.0, 0.0, 9.0]]
    )
    ignore = torch.eye(4, dtype=torch.bool)
    ignore[3, 1] = ignore[1, 3] = True  # one image's captions
    wanted = torch.eye(4, dtype=torch.bool)
    for row, column in ((0, 1), (1, 2), (2, 0), (3, 0)):  # of each row
        wanted[row, column] = True
    for row, column in ((3, 0), (0, 1), (1, 2), (0, 3)):  # of each column; (0, 3) ties with (2, 3)
        wanted[row, column] = True
    chosen = hardest(scores, ignore, 1)
    wanted[0, 3], wanted[2, 3] = chosen[0, 3], chosen[2, 3]
    assert torch.equal(chosen, wanted) and int(chosen[[0, 2], 3].sum()) == 1
    assert hardest(scores, ignore, 99).sum() == 14


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("negatives", [0, 2])
def test_a_scorer_learns_in_the_whole_model(kind, negatives):
    config = small(scorer=kind)
    objective = ObjectiveConfig(name="infonce", scorer_negatives=negatives)
    torch.manual_seed(0)
    model = USER(config, objective)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    batch = make_batch(config, [0, 1, 2, 3, 4, 5], mask=True)
    for _ in range(12):
        output = model(batch)
        output.loss.backward()
        losses.append(float(output.loss.detach()))
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        optimizer.step(), optimizer.zero_grad()
    assert losses[-1] < losses[0] and model.queue.filled == 6
    assert model.image_encoder.kept is None and model.text_encoder.kept is None  # taken once


def test_the_scorer_enters_the_loss_with_its_weight_and_its_objectives():
    config, losses = small(scorer="chan", queue_size=None), {}
    for weight in (0.0, 1.0):
        for name in ("hinge-hardest", "infonce", "hinge-hardest+infonce"):
            torch.manual_seed(0)
            model = USER(config, ObjectiveConfig(scorer_weight=weight, scorer_loss=name))
            torch.manual_seed(1)
            losses[name, weight] = float(model(make_batch(config, [0, 1, 2, 3])).loss.detach())
    hinge, nce, both = (
        losses[name, 1.0] - losses[name, 0.0]
        for name in ("hinge-hardest", "infonce", "hinge-hardest+infonce")
    )
    assert both == pytest.approx(hinge + nce, rel=1e-4) and min(hinge, nce) > 0
    with pytest.raises(UserError, match="scorer_loss is 'uto'"):
        ObjectiveConfig(scorer_loss="uto")
    with pytest.raises(UserError, match="scorer_negatives is 3.*scorer"):
        Config(objective=ObjectiveConfig(scorer_negatives=3))


@pytest.mark.parametrize("negatives", [1, 99])
def test_another_caption_of_an_image_is_no_negative_of_the_scorer(negatives):
    """Nor is it mined as one, although it is the most similar of all: what is mined here is every true negative, so
    that the loss is that of all pairs.
    """
    draws, ids = draw(3, 4, 5), torch.tensor([7, 7, 8])  # two captions of one image, and one of another
    regions, words = draws[[0, 0, 2]], draw(3, 3, 5, seed=1)
    there = torch.ones(3, 3, dtype=torch.bool)
    v = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    def loss(**settings):
        sides = [SimpleNamespace(take=lambda: (regions, None)), SimpleNamespace(take=lambda: (words, there))]
        term = scorer_term(ObjectiveConfig(scorer_loss="infonce", **settings), scorer_of("chan"), sides)
        return float(term(v, v, ids))

    assert loss(scorer_negatives=negatives) == pytest.approx(loss(), rel=1e-6)
    assert loss(scorer_negatives=99, mask_same_image=False) > loss() + 0.01


@pytest.mark.parametrize("negatives", [0, 1])
def test_what_is_not_there_has_no_say_in_the_scorer_s_loss(negatives):
    """Absent regions and padding may hold anything, whether all pairs are scored or the mined ones."""
    regions, words, v = draw(3, 4, 5), draw(3, 3, 5, seed=1), draw(3, 2, seed=2)

    def loss(filler):
        sides = [
            SimpleNamespace(take=lambda x=x, m=m: (x.masked_fill(~m.unsqueeze(-1), filler), m))
            for x, m in ((regions, R), (words, W[:3]))
        ]
        objective = ObjectiveConfig(scorer_loss="infonce", scorer_negatives=negatives)
        return float(scorer_term(objective, scorer_of("chan"), sides)(v, v, torch.arange(3)))

    assert loss(99.0) == pytest.approx(loss(0.0), rel=1e-9)
    assert loss(0.0) > 0.1


def test_mined_pairs_alone_are_scored():
    """Each with the mask of its own image and of its own caption."""
    scorer, regions, words = scorer_of("chan"), draw(4, 4, 5), draw(4, 3, 5, seed=1)
    chosen = torch.eye(4, dtype=torch.bool)
    chosen[0, 2] = chosen[1, 0] = True
    there = torch.cat([R, R[1:2]])
    for region_mask, word_mask in ((None, torch.ones(4, 3, dtype=torch.bool)), (there, W)):
        whole = scorer(regions, words, region_mask, word_mask)
        scores = chosen_scores(scorer, regions, words, region_mask, word_mask, chosen)
        torch.testing.assert_close(scores, whole.masked_fill(~chosen, 0.0))


def test_whole_sets_are_scored_without_dropout_and_the_mode_comes_back():
    """Also between steps of training: the scores of an evaluation are no draw."""
    from tests.training.test_cca_init import pairs
    from userlib.evaluation.cross_scores import cross_scores

    given = pairs(6)
    settings = {"vocab_size": given.tokenizer.vocab_size, "region_dim": 8, "scorer": "chan"}
    model = USER(small(**settings, region_channel_dropout=0.5, word_dropout=0.5, text_dropout=0.5))
    model.init_from_data(torch.from_numpy(given.features.tokens))
    wanted = cross_scores(model.eval(), given)
    assert not model.training
    assert torch.equal(cross_scores(model.train(), given), wanted)
    assert model.training and model.text_encoder.training


def test_what_is_not_reranked_stays_in_the_order_of_the_embeddings():
    """However near their scores lie, here 5e-6: in single precision 1,000 could not be taken off them."""
    from tests.training.test_cca_init import pairs
    from userlib.evaluation.cross_scores import reranked

    given = pairs(6)
    model = USER(small(vocab_size=given.tokenizer.vocab_size, region_dim=8, scorer="chan"))
    images, texts = ((0.5 + 1e-5 * np.arange(n, dtype=np.float32))[:, None] for n in (6, 18))
    result = reranked(model, given, images, texts, k=1)
    assert result.i2t.tolist() == [16, 13, 10, 7, 4, 1]  # behind the three captions of each later image
    assert result.t2i.tolist() == np.repeat([6, 5, 4, 3, 2, 1], 3).tolist()


def test_a_run_with_a_scorer_is_scored_reranked_and_searched(cache, tmp_path, capsys):
    from dataclasses import replace

    from userlib.config import DataConfig, TrainingConfig
    from userlib.data.captions import CaptionDataset
    from userlib.evaluation import embed, ranks, ranks_from_scores
    from userlib.evaluation.cross_scores import Sets, cross_scores, reranked
    from userlib.training import fit, prepare

    config = Config(
        data=DataConfig(data="scenes", sizes={"train": 24, "val": 12, "test": 12}, test_split="test"),
        model=ModelConfig(embed_dim=16, text_width=8, word_width=8, queue_size=None, scorer="chan"),
        objective=ObjectiveConfig(name="infonce"),
        training=TrainingConfig(steps=2, batch_size=12, precision="fp32"),
    )
    prepared = prepare(config, progress=False)
    run = fit(prepared, out=tmp_path / "run", progress=False)
    row, model, pairs = run.rows[-1], run.encoders, prepared.val
    images, texts = embed(model, pairs)
    scores = cross_scores(model, pairs)
    assert scores.shape == (12, len(pairs)) and "embedding_rsum" in row
    with torch.no_grad():
        batch = pairs.batch(np.array([3]))
        v, r = model.encode_regions(batch.tokens, batch.token_mask, batch.guide)
        t, w = model.encode_words(batch.input_ids, batch.attention_mask)
        one = model.scorer(v, t, r, w)
    assert float(scores[pairs.caption_to_image[3], 3]) == pytest.approx(float(one), abs=1e-5)
    full, plain_ranks = (
        ranks_from_scores(scores, pairs.caption_to_image),
        ranks(images, texts, pairs.caption_to_image),
    )
    everything = reranked(model, pairs, images, texts, k=len(pairs))
    assert (everything.i2t == full.i2t).all() and (everything.t2i == full.t2i).all()
    nothing = reranked(model, pairs, images, texts, k=1)  # the first stays the first
    assert ((nothing.i2t == 1) == (plain_ranks.i2t == 1)).all()
    assert (nothing.t2i == plain_ranks.t2i).all()

    # Regions that are not there count nowhere: neither in all scores nor in those of the first k.
    gone = np.ones((12, pairs.features.tokens.shape[1]), bool)
    gone[::2, 5:] = False
    masked = CaptionDataset(pairs.split, replace(pairs.features, mask=gone), pairs.tokenizer)
    sets = Sets(model, masked)
    whole = sets.all_scores()
    assert float((whole - scores).abs().max()) > 1e-4
    rows, columns = torch.arange(12), torch.arange(len(pairs))
    for at in range(0, 12, 3):
        torch.testing.assert_close(sets.scores_for(at, columns), whole[at], atol=1e-5, rtol=0)
        torch.testing.assert_close(sets.scores_of(at, rows), whole[:, at], atol=1e-5, rtol=0)
    few = model.scorer(sets.regions[:1, :5], sets.words[:4], None, sets.word_mask[:4])[0]
    torch.testing.assert_close(whole[0, :4], few, atol=1e-5, rtol=0)

    # the commands
    import json

    from userlib.__main__ import main

    folder = str(tmp_path / "run")
    assert main(["evaluate", "--checkpoint", folder, "--split", "val", "--rerank", "3", "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert {"model", "model, embeddings alone", "model, first 3 by chan"} <= set(tables)
    assert tables["model"]["rsum"][0] == pytest.approx(row["rsum"], abs=0.01)
    photos = tmp_path / "photos"
    photos.mkdir()
    for place, picture in enumerate(list(pairs.split.pictures)[:6]):
        picture.save(photos / f"{place}.png")
    words = ["search", "--checkpoint", folder, "--data", str(photos), "--query", "a dog", "--json"]
    assert main([*words, "--rerank", "6", "--top", "2"]) == 0
    hits = json.loads(capsys.readouterr().out)
    with torch.no_grad():
        features = torch.from_numpy(np.asarray(pairs.features.tokens[:6], np.float32))
        ids = torch.as_tensor(prepared.tokenizer.encode("a dog")).unsqueeze(0)
        t, w = model.encode_words(ids, torch.ones_like(ids, dtype=torch.bool))
        wanted = model.scorer(model.encode_regions(features)[0], t, None, w)[:, 0]
    assert [hit["id"] for hit in hits] == [f"{i}.png" for i in wanted.argsort(descending=True)[:2].tolist()]
    assert hits[0]["score"] == pytest.approx(float(wanted.max()), abs=1e-4)
    assert main([*words, "--rerank", "0"]) == 2 and "--rerank is 0" in capsys.readouterr().err


def test_each_direction_of_the_scorer_s_loss_has_its_own_negatives():
    """The hardest captions of an image are not those images that are hard for a caption."""
    scores = torch.tensor([[0.5, 0.9, 0.1], [0.2, 0.4, 0.8], [0.7, 0.3, 0.6]])
    used = torch.tensor([[0, 1, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.bool)  # image i against caption j
    objective = ObjectiveConfig(scorer_loss="hinge-hardest", margin=0.2)
    by_image = [0.9 - 0.5 + 0.2, 0.8 - 0.4 + 0.2, 0.0]
    by_caption = [0.0, max(0.9, 0.3) - 0.4 + 0.2, 0.8 - 0.6 + 0.2]
    assert float(scorer_loss(objective, scores, ~used)) == pytest.approx(
        (sum(by_image) + sum(by_caption)) / 3, abs=1e-6
    )


@pytest.mark.parametrize("kind", ["chan", "naaf", "scan-t2i", "scan-i2t"])
def test_shares_of_the_scores_add_up_to_all(kind):
    from tests.training.test_cca_init import pairs
    from userlib.evaluation.cross_scores import cross_scores

    given = pairs(6, named=(3, 1, 2))
    torch.manual_seed(0)
    model = USER(small(vocab_size=given.tokenizer.vocab_size, region_dim=8, scorer=kind)).eval()
    whole = cross_scores(model, given)
    parts = [cross_scores(model, given, (rank, 4)) for rank in range(4)]
    computed = [int((part != 0).any(0).sum()) for part in parts]
    assert sum(computed) == whole.shape[1] and max(computed) - min(computed) <= 1
    torch.testing.assert_close(sum(parts), whole, atol=1e-6, rtol=0)
