"""Any text encoder of transformers: its own sizes and vocabulary; trained, frozen or by LoRA; kept and read again."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.reference.runs import run_config, words, write_learnable
from tests.reference.small import small
from tests.reference.towers import KINDS, OWN_MASKS, SIZES, write_encoder
from userlib.__main__ import config_of, main, parser
from userlib.data.tokenizers import make_tokenizer
from userlib.errors import UserError
from userlib.model.encoders import TextEncoder
from userlib.model.text_transformers import text_settings
from userlib.model.trainable import blocks_of, set_trainable
from userlib.model.user import USER, load_model
from userlib.training import fit, prepare


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    return {kind: str(write_encoder(root / kind, kind)) for kind in KINDS}


def hf(folder, **changes):
    return small(text="hf", text_model=folder, vocab_size=None, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_gives_what_transformers_gives(kind, folders):
    """Its own sizes, weights and padding; a caption alone equals the caption in a batch."""
    from transformers import AutoModel

    encoder = TextEncoder(hf(folders[kind])).eval()
    encoder.load_text(folders[kind])
    tokenizer = make_tokenizer("bert", [], model=folders[kind])
    both = [tokenizer.encode("a dog runs over the grass"), tokenizer.encode("two people")]
    ids = torch.full((2, len(both[0])), tokenizer.pad_id)
    for row, one in zip(ids, both, strict=True):
        row[: len(one)] = torch.tensor(one)
    mask = torch.arange(ids.shape[1]) < torch.tensor([[len(one)] for one in both])
    states = encoder.states(ids, mask)
    assert encoder.states.width == states.shape[2] == 16
    plain = AutoModel.from_pretrained(folders[kind]).eval()
    for one, row in zip(both, states, strict=True):
        wanted = plain(input_ids=torch.tensor([one])).last_hidden_state[0]
        torch.testing.assert_close(row[: len(one)], wanted, atol=1e-5, rtol=1e-4)
    assert not any("pooler" in name for name, _ in encoder.named_parameters())


@pytest.mark.parametrize("kind", OWN_MASKS)
def test_attention_with_masks_of_its_own_trains_and_reads_no_padding(kind, folders):
    encoder = TextEncoder(hf(folders[kind]))
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.01)
    ids, mask = torch.randint(5, 60, (3, 9)), torch.arange(9) < torch.tensor([[9], [5], [2]])
    ids = ids.masked_fill(~mask, encoder.states.bert.config.pad_token_id)
    losses = []
    for _ in range(3):
        losses.append(encoder(ids, mask)[:, 0].sum())
        losses[-1].backward()
        optimizer.step(), optimizer.zero_grad()
    assert losses[2] < losses[0]
    encoder.eval()
    for row, count in enumerate(mask.sum(1).tolist()):
        alone = encoder(ids[row : row + 1, :count], mask[row : row + 1, :count])
        torch.testing.assert_close(encoder(ids, mask)[row], alone[0])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "clip_text_model"])
def test_a_network_that_reads_from_left_to_right_does_so_here(kind):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    settings = json.dumps({"model_type": kind, "vocab_size": 40, **sizes})
    network = TextEncoder(hf("any", text_config=settings)).eval().states
    ids, mask = torch.randint(5, 40, (2, 6)), torch.arange(6) < torch.tensor([[6], [4]])
    states = network(ids, mask)
    wanted = network.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(states[mask], wanted[mask])
    ids[:, 3] = 4
    torch.testing.assert_close(network(ids, mask)[:, :3], states[:, :3])


@pytest.mark.parametrize("kind", ["squeezebert", "layoutlm"])
def test_a_network_that_calls_its_pooler_is_read(kind, tmp_path):
    """These ask for their layers for classification, which are left out here."""
    groups = dict.fromkeys(("q_groups", "k_groups", "v_groups", "intermediate_groups", "output_groups"), 2)
    settings = {"model_type": kind, "vocab_size": 40, **SIZES, **groups, "embedding_size": 16}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    read = text_settings(str(tmp_path))
    network = TextEncoder(hf("any", **read)).eval()
    assert network(torch.arange(6).view(2, 3), torch.ones(2, 3, dtype=torch.bool)).shape == (2, 10)


def test_sizes_are_read(folders):
    read = text_settings(folders["modernbert"])
    assert (read["text_width"], read["text_layers"], read["text_heads"]) == (16, 3, 2)
    assert json.loads(read["text_config"])["model_type"] == "modernbert"


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_pieces_of_a_word_belong_together(kind, folders):
    tokenizer = make_tokenizer("bert", [], model=folders[kind])
    ids = np.array(tokenizer.encode("a dog xyz runs"))
    assert len(set(tokenizer.word_numbers(ids).tolist())) == 6 - (
        kind == "roberta"
    )  # <s> begins the first word
    begins = tokenizer.begins_word(ids)
    assert begins[0] and begins[-1] and not begins.all()


@pytest.mark.parametrize("how, share", [("all", 1.0), ("none", 0.0), ("last:1", 1 / 3), ("lora", 0.106)])
def test_what_learns(how, share, folders):
    encoder = TextEncoder(hf(folders["bert"], train_text=how, lora_rank=1))
    encoder.load_text(folders["bert"])
    learn = [p for p in encoder.states.parameters() if p.requires_grad]
    whole = sum(p.numel() for n, p in encoder.states.bert.encoder.named_parameters() if "lora" not in n)
    if how == "all":
        assert len(learn) == len(list(encoder.states.parameters()))
    else:
        assert sum(p.numel() for p in learn) / whole == pytest.approx(share, abs=0.02)
    assert encoder.linear.weight.requires_grad


def test_a_lora_starts_as_the_network_and_learns(folders):
    plain, adapted = (TextEncoder(hf(folders["mpnet"], train_text=how)).eval() for how in ("all", "lora"))
    for encoder in (plain, adapted):
        encoder.load_text(folders["mpnet"])
    ids, mask = torch.randint(5, 60, (2, 7)), torch.ones(2, 7, dtype=torch.bool)
    torch.testing.assert_close(adapted.states(ids, mask), plain.states(ids, mask))
    adapted.states(ids, mask).square().sum().backward()
    moved = [n for n, p in adapted.states.named_parameters() if p.grad is not None and p.grad.any()]
    assert moved and all("lora_B" in name for name in moved)


@pytest.mark.parametrize("rank", [1, 3])
def test_a_lora_adds_twice_the_product_of_its_matrices(rank):
    """W x + 2 B A x: a checkpoint holds A and B, so another factor would load as another network."""
    network = torch.nn.Sequential(torch.nn.Linear(4, 5))
    W, b = network[0].weight.detach().clone(), network[0].bias.detach().clone()
    set_trainable(network, "lora", setting="train_text", rank=rank)
    A, B = (dict(network.named_parameters())[f"0.lora_{part}.default.weight"] for part in "AB")
    assert (A.shape, B.shape) == ((rank, 4), (5, rank))
    torch.nn.init.normal_(B.data)
    x = torch.randn(7, 4)
    torch.testing.assert_close(network(x), x @ W.T + b + 2 * x @ A.T @ B.T)


def test_half_precision_files_are_trained_in_float32(folders, tmp_path):
    folder = str(write_encoder(tmp_path / "half", half=True))
    encoder = TextEncoder(hf(folder))
    encoder.load_text(folder)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize("how", ["lora", "last:2"])
def test_a_run_keeps_the_encoder_and_resumes(how, folders, tmp_path, cache, capsys):
    """From the command line; bit-equal after a stop; the checkpoint opens without the encoder's own weights."""
    folder = shutil.copytree(folders["roberta"], tmp_path / "encoder")
    config = run_config(write_learnable(tmp_path / "data"), steps=4, evaluate_every=0.07)
    out = tmp_path / "run"
    flags = ["--text", f"hf:{folder}", "--train-text", how]
    assert main(words(config, tmp_path / "c.json", out, *flags)) == 0
    capsys.readouterr()
    (folder / "model.safetensors").unlink()
    loaded = load_model(out)
    assert loaded.config.model.text_width == 16 and loaded.config.model.text_heads == 2
    assert any("lora" in name for name in loaded.model.state_dict()) == (how == "lora")
    shutil.copy(f"{folders['roberta']}/model.safetensors", folder)
    words_ = ["--config", str(tmp_path / "c.json"), *flags]
    prepared = prepare(config_of(parser().parse_args(["train", *words_])), progress=False)
    fit(prepared, out=tmp_path / "parts", stop_at=3, progress=False)
    fit(prepared, out=tmp_path / "parts", resume=True, progress=False)
    for one, other in zip(
        load_model(tmp_path / "parts").model.parameters(), loaded.model.parameters(), strict=True
    ):
        assert torch.equal(one, other)
    frozen = USER(loaded.config.model).text_encoder
    frozen.load_text(str(folder))
    start = {n: p for n, p in frozen.states.named_parameters() if not p.requires_grad}
    for name, value in loaded.model.text_encoder.states.named_parameters():
        if name in start:
            assert torch.equal(value, start[name]), name


def refused(words_):
    return config_of(parser().parse_args(["train", *words_]))


def test_what_cannot_be_is_refused(folders, tmp_path):
    for spec in ("hf", "hf:", "bert:x", "gru:x", "word2vec"):
        with pytest.raises(UserError, match="it must be bag, gru, hf:NAME_OR_FOLDER"):
            refused(["--text", spec])
    with pytest.raises(UserError, match="There is no text encoder .*config.json"):
        text_settings(str(tmp_path))
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(UserError, match="is a vit, which is not a plain text encoder"):
        text_settings(str(tmp_path / "vit"))
    for kind, more, said in (
        ("convbert", {"embedding_size": 16}, "which reads the padding of a batch too.*hf:bert-base"),
        ("fnet", {}, "which reads the padding"),
        ("nystromformer", {}, "which reads the padding"),
        ("xmod", {}, "which cannot read captions by itself: .*language.*into its config.json"),
        ("bert", {"hidden_size": 15}, "which cannot read captions by itself: The hidden size .15."),
        ("bert", {"hidden_size": "x"}, "There is no text encoder .*field 'hidden_size'.*expected int"),
    ):
        settings = {"model_type": kind, "vocab_size": 40, **SIZES, **more}
        (tmp_path / "vit" / "config.json").write_text(json.dumps(settings))
        with pytest.raises(UserError, match=said):
            text_settings(str(tmp_path / "vit"))
    with pytest.raises(UserError, match="last:9.*it has 3 blocks. Use last:1 to last:3"):
        TextEncoder(hf(folders["bert"], train_text="last:9"))
    with pytest.raises(UserError, match="no linear layer. Use last:1, all or none"):
        TextEncoder(small(train_text="lora"))
    with pytest.raises(UserError, match="its blocks are not known. Use all, lora or none"):
        TextEncoder(small(train_text="last:1"))
    with pytest.raises(UserError, match="vocabulary has 99999 tokens"):
        TextEncoder(replace(hf(folders["bert"]), vocab_size=99999))
    encoder = TextEncoder(hf(folders["bert"]))
    with pytest.raises(UserError, match="differs from model.text_config"):
        encoder.load_text(folders["roberta"])


def test_weights_that_are_missing_are_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders["bert"], tmp_path / "part")
    state = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in state.items() if "layer.1." not in k},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(UserError, match="weights are missing, such as encoder.layer.1"):
        TextEncoder(hf(str(folder))).load_text(str(folder))


def test_lora_without_peft_names_the_extra(folders, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install -e .*\[lora\]"):
        TextEncoder(hf(folders["bert"], train_text="lora"))


def test_the_blocks_of_networks():
    import timm

    for name, count in (("test_vit", 6), ("test_resnet", 4), ("test_efficientnet", 5)):
        network = timm.create_model(name, num_classes=0)
        blocks = blocks_of(network)
        assert len(blocks) >= 2, (name, count)
        set_trainable(network, "last:1", setting="model.train_image")
        learn = {n for n, p in network.named_parameters() if p.requires_grad}
        assert learn and not any(id(p) in {id(q) for q in blocks[0].parameters()} and p.requires_grad
                                 for p in network.parameters())  # fmt: skip
        assert all(p.requires_grad for p in blocks[-1].parameters())
