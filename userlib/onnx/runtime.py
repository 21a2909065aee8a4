"""An exported pair of encoders for search, with onnxruntime and numpy, without torch.

    index = Index.load("my/index", OnnxEncoder("runs/first-onnx"))

Its folder has text.onnx, image.onnx (from tokens), pixels.onnx (from images, where the networks of the tokens can be
exported), with int8 the same in eight bits, pair.json and the tokenizer.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from userlib.data.words import Tokenizer, WordTokenizer
from userlib.errors import UserError
from userlib.files import read_json
from userlib.search.protocol import Array
from userlib.verify import check

INTERPOLATIONS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def session(file: Path, threads: int | None = None) -> Any:
    """An onnxruntime session on the CPU. Raises UserError where the package or the file is missing."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError(
            'an exported model needs the package onnxruntime, which is not installed: pip install -e ".[onnx]"'
        ) from error
    if not file.is_file():
        raise UserError(f"{file.parent} has no {file.name}; export the checkpoint again.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def resized(image: Image.Image, how: dict[str, Any]) -> NDArray[np.uint8]:
    """An image (3, H, W) at the size that a network reads, before scaling its values: squashed, or with its shortest
    side fitted and the centre cropped, as `how` says.
    """
    height, width = how["size"]
    kind, picture = INTERPOLATIONS[how["interpolation"]], image.convert("RGB")
    if how["mode"] == "squash":
        if picture.size != (width, height):
            picture = picture.resize((width, height), kind)
    else:
        w, h = picture.size
        short = min(width, height)
        size = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
        picture = picture.resize(size, kind)
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        picture = picture.crop((left, top, left + width, top + height))
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, NDArray[Any]]:
    """Token ids of n texts -> input_ids (n, W) int64 and attention_mask (n, W) bool."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max())[None] < lengths[:, None]
    ids = np.full(mask.shape, pad, np.int64)
    ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


class OnnxEncoder:
    """An encoder of `userlib.search` from the folder of an export. int8: use the graphs in eight bits; threads: of
    onnxruntime, by default one per core.

    Its cache_key is that of the exported checkpoint, so that it opens the same index; in eight bits it differs. Raises
    UserError for a folder without a complete export.
    """

    warning: str | None = None

    def __init__(self, folder: str | Path, *, int8: bool = False, threads: int | None = None) -> None:
        self.folder, self.threads, self.suffix = Path(folder), threads, ".int8.onnx" if int8 else ".onnx"
        if not (self.folder / "pair.json").is_file():
            raise UserError(f"{folder} is no exported model: it has no pair.json. Export a checkpoint with "
                            "python -m userlib export.")  # fmt: skip
        check(self.folder, "Export it again.")
        self.about: dict[str, Any] = read_json(self.folder / "pair.json")
        if int8 and not self.about["int8"]:
            raise UserError(
                f"{folder} was exported without graphs in eight bits; export it again with --int8."
            )
        self.int8 = int8

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; one of words needs no torch, those of BERT and CLIP need their packages."""
        saved = read_json(self.folder / "tokenizer.json")
        if saved["name"] == WordTokenizer.name:
            return WordTokenizer(saved["words"])
        from userlib.data.tokenizers import tokenizer_from_json

        return tokenizer_from_json(saved)

    @cached_property
    def _text(self) -> Any:
        return session(self.folder / f"text{self.suffix}", self.threads)

    @cached_property
    def _tokens(self) -> Any:
        return session(self.folder / f"image{self.suffix}", self.threads)

    @cached_property
    def _pixels(self) -> Any:
        return session(self.folder / f"pixels{self.suffix}", self.threads)

    def encode_text(self, texts: Sequence[str]) -> Array:
        """n texts -> (n, E). Raises UserError for a text that is longer than the export can read."""
        rows = self.tokenizer.encode_all(texts)
        longest = max(map(len, rows))
        if longest > self.about["longest"]:
            raise UserError(
                f"a text has {longest} tokens, and this export reads at most {self.about['longest']}; shorten it."
            )
        return self._text.run(None, padded(rows, self.tokenizer.pad_id))[0]  # type: ignore[no-any-return]

    def encode_image(self, images: Sequence[Image.Image]) -> Array:
        """n images -> (n, E). Raises UserError where the export reads only tokens."""
        if not self.about["pixels"]:
            why = self.about["why"].rstrip(".")
            raise UserError(f"{self.folder} reads tokens, not images: {why}. Use encode_tokens.")
        feeds = {
            name: np.stack([resized(image, how) for image in images])
            for name, how in self.about["pixels"].items()
        }
        return self._pixels.run(None, feeds)[0]  # type: ignore[no-any-return]

    def encode_tokens(
        self, tokens: Array, mask: NDArray[np.bool_] | None = None, guide: Array | None = None
    ) -> Array:
        """tokens (n, R, D), mask (n, R) True where there is one, guide (n, G) where the model uses one -> (n, E).

        Raises UserError where the guide is missing.
        """
        feeds: dict[str, NDArray[Any]] = {
            "tokens": np.asarray(tokens, np.float32),
            "token_mask": np.ones(tokens.shape[:2], bool) if mask is None else mask,
        }
        if self.about["guide"]:
            if guide is None:
                raise UserError("the exported model uses a guide, and none was given; give guide (n, G).")
            feeds["guide"] = np.asarray(guide, np.float32)
        return self._tokens.run(None, feeds)[0]  # type: ignore[no-any-return]

    def unknown(self, text: str) -> list[str]:
        return self.tokenizer.unknown(text)

    def cache_key(self) -> dict[str, Any]:
        key: dict[str, Any] = {**self.about["encoder"], "name": str(self.folder)}
        return {**key, "precision": "int8"} if self.int8 else key
