"""MTEB's and CLIP_benchmark's own evaluation of a model on local data against userlib's R@1, 5 and 10."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.copies import write_clip, write_hub
from userlib import UserError
from userlib.data.sources import load_data
from userlib.evaluation import ranks, recalls
from userlib.search import OpenClipEncoder
from userlib.search.protocol import encode_all
from userlib.suites import MtebModel, SentenceModel, for_clip_benchmark

KS = (1, 5, 10)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return OpenClipEncoder(f"local-dir:{write_clip(tmp_path_factory.mktemp('suites') / 'clip')}")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    counts = {"train": 2, "val": 2, "test": 24}
    return load_data(str(write_hub(tmp_path_factory.mktemp("data") / "hub", counts))).split("test")


@pytest.fixture(scope="module")
def own(encoder, split):
    """userlib's numbers: R@K in percent."""
    images = encode_all(encoder.encode_image, split.pictures)
    texts = encode_all(encoder.encode_text, list(split.captions))
    return recalls(ranks(images, texts, split.caption_to_image)).as_dict()


def test_encode_is_that_of_sentence_transformers(encoder, split):
    model = SentenceModel(encoder)
    texts, images = list(split.captions[:3]), [split.pictures[i] for i in range(2)]
    mixed = model.encode([texts[0], images[0], texts[1], images[1]])
    assert np.allclose(mixed[[0, 2]], encoder.encode_text(texts[:2]), atol=1e-6)
    assert np.allclose(mixed[[1, 3]], encoder.encode_image(images), atol=1e-6)
    assert model.encode(texts[0]).shape == mixed.shape[1:] and model.encode([]).shape == (0, 0)
    tensor = model.encode(texts, convert_to_tensor=True, normalize_embeddings=True)
    assert isinstance(tensor, torch.Tensor)
    assert torch.allclose(model.similarity(tensor, tensor).diagonal(), torch.ones(3), atol=1e-5)
    assert torch.allclose(model.similarity_pairwise(tensor, tensor), torch.ones(3), atol=1e-5)
    with pytest.raises(UserError, match="item 1 is a int"):
        model.encode(["a dog", 3])
    with pytest.raises(UserError, match="no argument 'precision'"):
        model.encode("a dog", precision="int8")


def test_clip_benchmark_finds_the_same_recalls(encoder, split, own):
    pytest.importorskip("clip_benchmark")
    from clip_benchmark.metrics import zeroshot_retrieval

    model, transform, tokenizer = for_clip_benchmark(encoder)
    captions = [
        [split.captions[j] for j in np.flatnonzero(split.caption_to_image == i)] for i in range(len(split))
    ]
    pairs = [(transform(split.pictures[i]), captions[i]) for i in range(len(split))]
    loader = torch.utils.data.DataLoader(
        pairs,
        batch_size=5,
        collate_fn=lambda batch: (torch.stack([x for x, _ in batch]), [y for _, y in batch]),
    )
    found = zeroshot_retrieval.evaluate(model, loader, tokenizer, "cpu", amp=False, recall_k_list=list(KS))
    for k in KS:
        assert 100 * found[f"image_retrieval_recall@{k}"] == pytest.approx(own[f"t2i_r{k}"])
        assert 100 * found[f"text_retrieval_recall@{k}"] == pytest.approx(own[f"i2t_r{k}"])


def task_of(split, way):
    """The split as a local retrieval task of MTEB: t2i or i2t."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class Local(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f"Local{way}", description="A local split.", reference=None, type="Any2AnyRetrieval", category=way,
            modalities=["text", "image"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score="ndcg_at_10",
            dataset={"path": "local", "revision": "1"}, date=None, domains=None, task_subtypes=None, license=None,
            annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation=None,
        )  # fmt: skip

        def load_data(self, *arguments, **named):
            images = Dataset.from_dict(
                {
                    "id": [f"i{i:03d}" for i in range(len(split))],
                    "image": [split.pictures[i] for i in range(len(split))],
                },
                features=Features({"id": Value("string"), "image": ImageFeature()}),
            )
            texts = Dataset.from_dict(
                {"id": [f"t{j:03d}" for j in range(len(split.captions))], "text": split.captions}
            )
            owner = [(f"t{j:03d}", f"i{int(i):03d}") for j, i in enumerate(split.caption_to_image)]
            relevant = {}
            for text, image in owner:
                query, document = (text, image) if way == "t2i" else (image, text)
                relevant.setdefault(query, {})[document] = 1
            corpus, queries = (images, texts) if way == "t2i" else (texts, images)
            part = {"corpus": corpus, "queries": queries, "relevant_docs": relevant, "top_ranked": None}
            self.dataset = {"default": {"test": part}}
            self.data_loaded = True

    return Local()


@pytest.mark.parametrize("way", ["t2i", "i2t"])
def test_mteb_finds_the_same_recalls(encoder, split, own, way, tmp_path):
    """MTEB's recall of an image's five captions is the share found; its hit rate is the R@K of image-text retrieval."""
    mteb = pytest.importorskip("mteb")
    result = mteb.evaluate(
        MtebModel(encoder), tasks=task_of(split, way), cache=None, overwrite_strategy="always"
    )
    scores = result.task_results[0].scores["test"][0]
    for k in KS:
        name = f"hit_rate_at_{k}" if f"hit_rate_at_{k}" in scores else f"recall_at_{k}"
        assert 100 * scores[name] == pytest.approx(own[f"{way}_r{k}"], abs=0.01), sorted(scores)
    assert way == "i2t" or 100 * scores["recall_at_1"] == pytest.approx(own["t2i_r1"], abs=0.01)


def test_mteb_is_named_where_it_is_absent(encoder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mteb.models", None)
    with pytest.raises(UserError, match=r"pip install -e \"\.\[suites\]\""):
        MtebModel(encoder)


def test_a_batch_of_neither_is_refused(encoder):
    pytest.importorskip("mteb")
    with pytest.raises(UserError, match="batch of audio"):
        MtebModel(encoder).encode([{"audio": [1]}])
    both = MtebModel(encoder).encode([{"text": ["a dog"], "image": [Image.new("RGB", (32, 32))]}])
    assert np.linalg.norm(both) == pytest.approx(1.0)


def test_vectors_of_mixed_items_come_in_the_order_of_the_items(encoder, split):
    """Three of which the image is the first: the order that sorts them is not the one that puts them back."""
    image, texts = split.pictures[0], list(split.captions[:2])
    mixed = SentenceModel(encoder).encode([image, *texts])
    assert np.allclose(mixed[0], encoder.encode_image([image])[0], atol=1e-6)
    assert np.allclose(mixed[1:], encoder.encode_text(texts), atol=1e-6)
