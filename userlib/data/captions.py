"""Batches of images and captions: augmentation, sampling of regions, padding.

Source of the augmentation: VSE-infinity (Chen et al., CVPR 2021), which USER follows: each word is drawn with
probability p, then all its pieces are masked (50 %), replaced by random ones (10 %) or deleted (40 %).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from userlib.data import resident
from userlib.data.pixels import Pixels
from userlib.data.splits import Split
from userlib.data.tokenizers import Tokenizer
from userlib.data.tokens import Features, Rows
from userlib.errors import UserError

CHUNK = 10_000  # captions numbered at a time: as lists of Python numbers, COCO's take 2 GB


def augment(
    ids: np.ndarray,
    *,
    rng: np.random.Generator,
    tokenizer: Tokenizer,
    p: float = 0.2,
    masked: float = 0.5,
    random: float = 0.1,
) -> np.ndarray:
    """ids (W,) -> (W',), W' <= W. Each word is drawn with probability p; all pieces of a drawn word are masked (with
    probability `masked`), replaced by random ids (`random`) or deleted (else).

    Special tokens stay. A caption whose words would all be deleted keeps one of them, drawn at random.
    """
    special = np.array(sorted(tokenizer.special_ids))
    free = ~np.isin(ids, special)
    word = tokenizer.word_numbers(ids)
    drawn_by_word = rng.random(int(word.max(initial=-1)) + 1)
    draw = drawn_by_word[word] / p if p > 0 else np.ones(len(ids))  # below 1: drawn, then uniform in [0, 1)
    out = np.where(free & (draw < masked), tokenizer.mask_id, ids)
    replaced = free & (draw >= masked) & (draw < masked + random)
    if replaced.any():
        drawn = rng.integers(tokenizer.vocab_size - len(special), size=int(replaced.sum()))
        for one in special:  # skip the special ids: the n-th ordinary id
            drawn += drawn >= one
        out[replaced] = drawn
    deleted = free & (draw >= masked + random) & (draw < 1)
    if deleted.any() and deleted.sum() == free.sum():
        deleted &= word != rng.choice(np.unique(word[free]))
    return out[~deleted]


@dataclass
class Batch:
    """B images and their captions."""

    tokens: Tensor  # (B, R, D) float32; (B, 3, H, W) uint8 for a tower that is trained
    token_mask: Tensor | None  # (B, R) bool, true where there is a region
    guide: Tensor | None  # (B, G)
    input_ids: Tensor  # (B, W) int64
    attention_mask: Tensor  # (B, W) bool, true on tokens
    image_ids: Tensor  # (B,) int64, equal for captions of the same image
    caption_guide: Tensor | None = None  # (B, G): the captions by the guide's network, for soft targets

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, from which a GPU can copy while the host goes on."""
        return self._each(lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        changed: dict[str, Any] = {
            name: None if tensor is None else change(tensor) for name, tensor in vars(self).items()
        }
        return Batch(**changed)


class CaptionDataset:
    """The M captions of a split, each with the tokens of its image; `batch` takes caption indices.

    Captions are turned into token ids once, as int32; tokens of images are read in the order in which they lie on the
    disk. lengths (M,) counts each caption's tokens, caption_to_image (M,) gives its image. Raises UserError where
    `features` has another number of images than `split`.
    """

    def __init__(self, split: Split, features: Features, tokenizer: Tokenizer) -> None:
        count = features.tokens.shape[0]
        if count != len(split):
            raise UserError(
                f"The split {split.name!r} has {len(split)} images, but tokens of {count}. Extract them again."
            )
        self.split, self.features, self.tokenizer = split, features, tokenizer
        self.caption_to_image = split.caption_to_image
        ids, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
        for first in range(0, len(split.captions), CHUNK):
            encoded = tokenizer.encode_all(split.captions[first : first + CHUNK])
            lengths.append(np.array([len(one) for one in encoded], dtype=np.int64))
            ids.append(np.fromiter(chain.from_iterable(encoded), np.int32, count=int(lengths[-1].sum())))
        self._ids, self.lengths = np.concatenate(ids), np.concatenate(lengths)
        self._ends = np.cumsum(self.lengths)
        self.caption_guide: np.ndarray | None = None  # (M, G) of all captions
        self._cached: dict[str, Tensor] = {}
        self._cached_of = features  # what the cached tensors are copies of

    def __len__(self) -> int:
        return len(self.lengths)

    def __copy__(self) -> "CaptionDataset":
        """The same pairs, which may be given other features; what a device caches stays with the original."""
        copied = object.__new__(type(self))
        copied.__dict__.update(vars(self))
        copied.release()
        return copied

    def cache_on_device(self, device: torch.device) -> bool:
        """Keep tokens, flipped tokens and guide on the device if they take at most half of its free memory; returns
        whether they are kept. Until `release`, batches have the same values, made on the device. Raises UserError for
        values that are not finite.
        """
        if self.pixels() is not None:  # each step crops them again
            return False
        if cached := self._on_device():
            return all(tensor.device == device for tensor in cached.values())
        self.release()
        if resident.size_of(self.features) > resident.SHARE * resident.free_memory(device):
            return False
        cached = {name: resident.copied(array, device) for name, array in resident.arrays_of(self.features)}
        for tensor in cached.values():
            for rows in np.array_split(np.arange(len(tensor)), max(1, len(tensor) // resident.CHUNK)):
                self._check_finite(tensor[rows[0] : rows[-1] + 1], rows)
        self._cached, self._cached_of = cached, self.features
        return True

    def release(self) -> None:
        """Frees the device's copy."""
        self._cached = {}

    def _on_device(self) -> dict[str, Tensor]:
        """The cached tensors; none where `features` has been replaced since they were copied."""
        return self._cached if self._cached_of is self.features else {}

    def pixels(self) -> Pixels | None:
        """The pixels that the rows of `features.tokens` are; None where those are tokens."""
        tokens = self.features.tokens
        base = tokens.base if isinstance(tokens, Rows) else tokens
        return base if isinstance(base, Pixels) else None

    def ids(self, row: int) -> np.ndarray:
        """The token ids of one caption."""
        return self._ids[self._ends[row] - self.lengths[row] : self._ends[row]]

    def batch(
        self,
        caption_rows: np.ndarray,
        *,
        rng: np.random.Generator | None = None,
        caption_augment_prob: float = 0.0,
        region_mask_prob: float = 0.0,
        region_sample: int | None = None,
        random_crop: float = 1.0,
        hflip: bool = False,
    ) -> Batch:
        """The captions of these rows, with their images. With rng, the batch is augmented for training: each word with
        probability caption_augment_prob; region_sample regions drawn from each image; each region masked with
        probability region_mask_prob (never all of an image); half the images flipped where there are flipped tokens.
        Pixels are cropped to at least the share random_crop of the image, and half are flipped where hflip is set.
        """
        images = self.caption_to_image[caption_rows]
        if rng is not None and self.pixels() is not None:
            tokens, mask, guide = self._drawn_pixels(images, rng, random_crop, hflip)
        else:
            tokens, mask, guide = self._read(images, rng, region_sample)
        captions = [self.ids(int(row)) for row in caption_rows]
        if rng is not None and caption_augment_prob > 0:
            captions = [
                augment(ids, rng=rng, tokenizer=self.tokenizer, p=caption_augment_prob) for ids in captions
            ]
        if rng is not None and region_mask_prob > 0:
            pixels = self.pixels()
            regions = tokens.shape[1] if pixels is None else pixels.regions
            mask = drop_regions(mask, (len(images), regions), region_mask_prob, rng)
        input_ids, attention_mask = self._padded(captions)
        taught = None if self.caption_guide is None else torch.from_numpy(self.caption_guide[caption_rows])
        image_ids = torch.from_numpy(images.astype(np.int64))
        return Batch(tokens, mask, guide, input_ids, attention_mask, image_ids, taught)

    def image_batches(
        self, size: int, share: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        """Every image once, in order: tokens (B, R, D), mask (B, R) or None, guide (B, G) or None. share: (r, n) gives
        only the images r, r + n, r + 2n, ...
        """
        rows = np.arange(share[0], len(self.split), share[1])
        for first in range(0, len(rows), size):
            yield self._read(rows[first : first + size], None)

    def caption_batches(
        self, size: int, share: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """Every caption once, the short ones first, so that little is padded: their indices, input_ids (B, W) and
        attention_mask (B, W). share: (r, n) gives every n-th of them, from the r-th on.
        """
        order = np.argsort(self.lengths, kind="stable")[share[0] :: share[1]]
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            yield rows, *self.words(rows)

    def words(self, caption_rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """input_ids (B, W) and attention_mask (B, W) of these captions, without their images."""
        return self._padded([self.ids(int(row)) for row in caption_rows])

    def _read(
        self, images: np.ndarray, rng: np.random.Generator | None, region_sample: int | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """tokens (B, R, D) float32, mask (B, R) or None, guide (B, G) or None of these images; with rng and
        region_sample, R = region_sample regions drawn from each image.
        """
        features = self.features
        there = None if features.mask is None else np.asarray(features.mask[images])
        places = None
        if rng is not None and region_sample is not None and region_sample < features.tokens.shape[1]:
            places = draw_regions(there, (len(images), features.tokens.shape[1]), region_sample, rng)
            there = None if there is None else np.take_along_axis(there, places, 1)
        tokens = self._rows("tokens", images, places)
        if rng is not None and features.hflip is not None:
            flipped = np.flatnonzero(rng.random(len(images)) < 0.5)
            where = torch.from_numpy(flipped).to(tokens.device)
            tokens[where] = self._rows("hflip", images[flipped], None if places is None else places[flipped])
        mask = None if there is None else torch.from_numpy(there)
        guide = None if features.guide is None else self._rows("guide", images)
        if not self._on_device():  # else they were checked when they were copied
            for values in (tokens,) if guide is None else (tokens, guide):
                self._check_finite(values, images)
        return tokens, mask, guide

    def _drawn_pixels(
        self, images: np.ndarray, rng: np.random.Generator, crop: float, hflip: bool
    ) -> tuple[Tensor, None, Tensor | None]:
        """Pixels (B, 3, H, W) uint8, cropped and flipped at random; None, as there is no mask; guide (B, G) or None."""
        pixels, base = self.pixels(), self.features.tokens
        assert pixels is not None
        rows = base.rows[images] if isinstance(base, Rows) else images
        drawn = torch.from_numpy(pixels.drawn(rows, rng, crop=crop, hflip=hflip))
        return drawn, None, None if self.features.guide is None else self._rows("guide", images)

    def _rows(self, name: str, images: np.ndarray, places: np.ndarray | None = None) -> Tensor:
        """The rows `images` of one of the arrays as float32, from the device that caches it or from the disk; only the
        regions at `places` (B, n), where given.
        """
        cached = self._on_device().get(name)
        if cached is not None:
            rows = torch.from_numpy(images).to(cached.device)
            if places is None:
                return cached[rows].float()
            return cached[rows[:, None], torch.from_numpy(places).to(cached.device)].float()
        own, back = np.unique(images, return_inverse=True)  # in the order on the disk, each once
        read = np.asarray(getattr(self.features, name)[own])
        return torch.from_numpy(read[back] if places is None else read[back[:, None], places]).float()

    def _check_finite(self, values: Tensor, images: np.ndarray) -> None:
        if torch.isfinite(values.sum()):  # one sum is twenty times cheaper than a test of each value
            return
        finite = torch.isfinite(values).flatten(1).all(1)
        if not finite.all():
            bad = int(images[int((~finite).nonzero()[0])])
            raise UserError(
                f"The features of image {self.split.ids[bad]!r} (row {bad} of {self.split.name!r}) contain NaN or "
                "infinity. Make or fetch them again."
            )

    def _padded(self, captions: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """input_ids (B, W) padded with pad_id, and the mask that is true on tokens."""
        lengths = np.array([len(ids) for ids in captions])
        mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        input_ids = np.full(mask.shape, self.tokenizer.pad_id, dtype=np.int64)
        input_ids[mask] = np.concatenate(captions)
        return torch.from_numpy(input_ids), torch.from_numpy(mask)


def draw_regions(
    there: np.ndarray | None, shape: tuple[int, int], count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw `count` of R regions per image without repetition, absent ones only where too few are present.

    there (B, R) is true where there is a region; shape is (B, R). Returns sorted indices (B, count).
    """
    keys = rng.random(shape)
    if there is not None:
        keys += ~there
    drawn: np.ndarray = np.sort(np.argpartition(keys, count - 1, axis=1)[:, :count], axis=1)
    return drawn


def drop_regions(
    mask: Tensor | None, shape: tuple[int, int], share: float, rng: np.random.Generator
) -> Tensor:
    """A mask (B, R) in which each region is dropped with probability `share`, but never all of an image. Raises
    UserError where an image has no region.
    """
    there = np.ones(shape, dtype=bool) if mask is None else mask.numpy()
    if not there.any(1).all():
        raise UserError(
            f"Image {int(np.flatnonzero(~there.any(1))[0])} of a batch of {shape[0]} has no region: all are masked. "
            "Leave it out of the data, or give it a region."
        )
    kept = there & (rng.random(shape) >= share)
    for row in np.flatnonzero(~kept.any(1)):
        kept[row, rng.choice(np.flatnonzero(there[row]))] = True
    return torch.from_numpy(kept)
