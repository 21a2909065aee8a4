"""Token ids to the last hidden states of a transformers encoder: BERT built from its sizes, or any encoder that
AutoModel loads (RoBERTa, MPNet, MiniLM, DeBERTa, ModernBERT, ...) built from its own configuration.
"""

import json
import sys
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from userlib.config import ModelConfig
from userlib.data.network import hub_access
from userlib.errors import UserError, first_line
from userlib.model.trainable import load_start

# keys of a configuration that have no effect on the result
UNUSED = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
ANOTHER = "Name another, such as hf:bert-base-uncased or hf:microsoft/deberta-v3-base."


def text_settings(name: str) -> dict[str, Any]:
    """The settings in ModelConfig of the encoder in a folder or on the hub: text_config (its configuration as JSON)
    and its sizes text_width, text_layers and text_heads. Raises UserError for anything but a text encoder, and for one
    whose vectors of a caption cannot be computed or depend on the padding: it is tried on two, with random weights.
    """
    kind, settings = _described(name)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            network = Bert(ModelConfig(text="hf", **settings)).eval()
            pad = getattr(network.bert.config, "pad_token_id", None) or 0
            ids = (torch.arange(8).view(2, 4) % network.bert.config.vocab_size).masked_fill(~mask, pad)
            states, alone = network(ids, mask), network(ids[1:, :2], mask[1:, :2])
        if states.shape != (2, 4, network.width):
            raise ValueError(f"it gives {tuple(states.shape)} for (2, 4) words.")
    except Exception as error:  # whatever a network of others raises that misses an argument
        raise UserError(
            f"{name!r} is a {kind}, which cannot read captions by itself: {first_line(error.__cause__ or error)[:200]} "
            f"Put what it asks for into its config.json, if it has a place there. {ANOTHER}"
        ) from error
    if not torch.allclose(states[1:, :2], alone, rtol=1e-3, atol=1e-4):
        raise UserError(
            f"{name!r} is a {kind}, which reads the padding of a batch too: a caption alone and in a batch would "
            f"differ. {ANOTHER}"
        )
    return settings


def _described(name: str) -> tuple[str, dict[str, Any]]:
    """The kind of the encoder in a folder or on the hub, and what `text_settings` gives."""
    from transformers import AutoConfig

    try:
        with hub_access(f"the configuration of {name!r}"):
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:  # OSError, ValueError, KeyError, and what checks of single values raise
        raise UserError(
            f"There is no text encoder {name!r}: {first_line(error)} Give the hub name of one that "
            "transformers' AutoModel loads without remote code, or a folder with its config.json."
        ) from error
    sizes = [
        getattr(config, key, None) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")
    ]
    encodes = getattr(config, "vocab_size", None) and not getattr(config, "is_encoder_decoder", False)
    if not encodes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UserError(
            f"{name!r} is a {config.model_type}, which is not a plain text encoder. Name one, such as "
            "hf:bert-base-uncased, or clip:NAME for the text tower of an open_clip model."
        )
    kept = {key: value for key, value in config.to_diff_dict().items() if key not in UNUSED}
    return config.model_type, {
        "text_config": json.dumps(kept, sort_keys=True),
        **dict(zip(("text_width", "text_layers", "text_heads"), sizes, strict=True)),
    }


class Bert(nn.Module):
    """The last hidden states of a transformers encoder, with random weights until `load_text` is called.

    text "bert": BERT of text_width, text_layers and text_heads. "hf": by the configuration in text_config, else by
    that of the folder or hub name text_model. Raises UserError where it cannot be built.
    """

    # what decides the arithmetic of BERT, and which setting it comes from
    ARITHMETIC: Mapping[str, str | None] = types.MappingProxyType(
        {
            "hidden_size": "text_width",
            "num_hidden_layers": "text_layers",
            "num_attention_heads": "text_heads",
            "hidden_act": None,
            "layer_norm_eps": None,
        }
    )

    bert: Any

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.text_config: str | None = None
        if config.text == "hf":
            self.text_config = config.text_config or _described(config.text_model or "")[1]["text_config"]
        self.bert = _of_sizes(config) if self.text_config is None else _of_json(self.text_config)
        self.width = int(self.bert.config.hidden_size)
        # Transformers checks at each step whether a mask (B,W) masks anything, for which the host waits for the device;
        # a complete mask (B,1,W,W) is used as it is. It does not work for transformers before 5, for a network that
        # makes its own mask (DeBERTa), or for windowed attention other than ModernBERT's (Longformer); and in a causal
        # network (CLIP's does not declare itself one) every word would read all words.
        settings = self.bert.config
        self.windows = settings.model_type == "modernbert"
        other = not hasattr(sys.modules[type(self.bert).__module__], "create_bidirectional_mask")
        windows = {"layer_types", "attention_window"} & set(settings.to_dict())
        other = other or bool(windows) and not self.windows
        ordered = any(getattr(module, "is_causal", False) for module in self.bert.modules())
        ordered = ordered or "clip" in settings.model_type
        self.asks_the_mask = other or ordered or _major_version() < 5
        if (config.vocab_size or 0) > self.bert.config.vocab_size:
            raise UserError(
                f"the vocabulary has {config.vocab_size} tokens and the text encoder {self.bert.config.vocab_size} "
                "embeddings, so they belong to different models. Give the folder in which both were saved."
            )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) -> (B,W,width)."""
        mask = attention_mask.long() if self.asks_the_mask else self._ready(attention_mask)
        states: Tensor = self.bert(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return states

    def _ready(self, attention_mask: Tensor) -> Any:
        """attention_mask (B,W) -> (B,1,W,W), 0 where a word may be read and the lowest float32 elsewhere; for windowed
        attention one for each kind of layer.
        """
        lowest = torch.finfo(torch.float32).min
        ready = torch.zeros(attention_mask.shape, device=attention_mask.device)
        ready = ready.masked_fill(~attention_mask.bool(), lowest)[:, None, None, :]
        ready = ready.expand(-1, 1, attention_mask.shape[1], -1)
        if not self.windows:
            return ready
        place = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        far = (place - place.unsqueeze(1)).abs() > self.bert.config.sliding_window
        return {"full_attention": ready, "sliding_attention": ready.masked_fill(far, lowest)}

    def load_text(self, name: str) -> None:
        """Loads the weights of a transformers model by name or folder, as float32 whatever their stored type. Raises
        UserError where they cannot be loaded or do not fit.
        """
        from transformers import AutoModel, BertModel

        kind: Any = BertModel if self.text_config is None else AutoModel
        try:
            with hub_access(f"the weights of {name!r}"):
                source, told = kind.from_pretrained(
                    name, use_safetensors=True, trust_remote_code=False, output_loading_info=True
                )
            missing = sorted(key for key in told["missing_keys"] if not key.startswith("pooler."))
            if missing:
                raise ValueError(f"{len(missing)} of its weights are missing, such as {missing[0]}")
            self._compare(name, source.config)
            load_start(self.bert, _without_pooler(source).state_dict())
        except UserError:
            raise
        except Exception as error:  # OSError, ValueError, and those of the libraries that read the file
            raise UserError(
                f"the weights {name!r} of the text encoder could not be loaded ({first_line(error)}); give a "
                "folder with config.json and model.safetensors, or connect to the network once to download them."
            ) from error

    def _compare(self, name: str, theirs: Any) -> None:
        """Raises UserError where weights of the same shapes belong to another configuration."""
        if self.text_config is not None:
            if _described(name)[1]["text_config"] != self.text_config:
                raise UserError(
                    f"the configuration of {name!r} differs from model.text_config; set model.text_config to null, and "
                    "it is read again."
                )
            return
        for key, setting in self.ARITHMETIC.items():
            given, own = getattr(theirs, key, None), getattr(self.bert.config, key)
            if given != own:
                remedy = f"set model.{setting} to {given}" if setting else "use other weights"
                raise UserError(
                    f"the BERT weights {name!r} have {key} {given} and the model has {own}; {remedy}, or name them "
                    f"by --text hf:{name}, which reads all sizes."
                )


def _major_version() -> int:
    import transformers

    return int(transformers.__version__.partition(".")[0])


def _of_sizes(config: ModelConfig) -> nn.Module:
    from transformers import BertConfig, BertModel

    built = BertConfig(
        vocab_size=config.vocab_size or 30522,
        hidden_size=config.text_width,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        intermediate_size=4 * config.text_width,
    )
    return BertModel(built, add_pooling_layer=False)


def _of_json(text: str) -> nn.Module:
    from transformers import AutoModel

    try:
        return _without_pooler(AutoModel.from_config(config_of_json(text))).float()
    except Exception as error:  # such as ImportError, where a network needs a package of its own
        raise UserError(
            f"model.text_config describes no encoder that transformers can build ({first_line(error)}); set it to "
            "null, and it is read from text_model."
        ) from error


def config_of_json(text: str) -> Any:
    """The transformers configuration of a text_config; what it leaves out has its default."""
    from transformers import AutoConfig

    settings = json.loads(text)
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def _without_pooler(network: Any) -> nn.Module:
    """The network without its pooler, which is for classification; some networks call what stands in its place."""
    if getattr(network, "pooler", None) is not None:
        network.pooler = nn.Identity()
    return network  # type: ignore[no-any-return]
