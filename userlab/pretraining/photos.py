"""photos-mini, which searches photos: USER trained with the preset `photos` and stored for inference only.

Its vocabulary has the words of the captions and further ones: the initialisation by CCA also uses the vector that a
pretrained text encoder has for each word, so that words with similar vectors share what is learned about one of them.
The text encoder is not stored.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from userlab.pretraining.assets import command_of
from userlab.pretraining.settings import PhotosConfig
from userlib.checkpoints import TENSORS
from userlib.config import Config, to_json
from userlib.evaluation import bootstrap, embed, ranks
from userlib.files import cache_dir, check_folder, remove_folder, sha256_bytes
from userlib.model.user import load_model, save_model
from userlib.presets import preset
from userlib.provenance import code_version, provenance
from userlib.training import fit, prepare

PLACE = "path/to/flickr8k"  # stored in place of the real folder
FILES = (TENSORS, "config.json", "tokenizer.json", "metadata.json")
TERMS = (
    "Trained on photos and captions of Flickr8k (Hodosh, Young, Hockenmaier 2013). The photos belong to their Flickr "
    "owners and are for non-commercial research and teaching, and so is this model. It holds no photo."
)


def settings_of(config: PhotosConfig) -> Config:
    """The configuration of the training run."""
    base = preset("photos")
    return replace(
        base,
        data=replace(
            base.data,
            data=config.data,
            val_split=config.val_split,
            test_split=config.test_split,
            vocabulary=config.vocabulary,
        ),
        model=replace(
            base.model,
            text_model=config.text_model,
            principal_dim=256,  # narrower than the preset, so that the files have at most 6 MB
            embed_dim=256,
            word_width=192,
        ),
        training=replace(base.training, epochs=config.epochs, seed=config.seed),
    )


def elsewhere(name: str) -> str:
    """A folder's path as path/to/NAME, for the provenance; a name on the hub as it is."""
    return f"path/to/{Path(name).name}" if Path(name).is_dir() else name


def pretrain_photos(config: PhotosConfig, out: Path, *, show: bool = True) -> dict[str, Any]:
    """Trains photos-mini, or resumes its training, and writes its folder. Returns the provenance."""
    code_version()  # cached: the version of the code at the start of the run
    check_folder(out, FILES)
    prepared = prepare(settings_of(config), progress=show)
    state = (
        cache_dir() / "pretraining" / f"photos-mini-{sha256_bytes(repr(config), prepared.fingerprint)[:16]}"
    )
    run = fit(prepared, out=state, resume=(state / "run.json").is_file(), progress=show)
    if not run.finished or prepared.test is None:
        raise KeyboardInterrupt
    made = load_model(state)
    for weights in made.model.state_dict().values():  # the weights that are scored are those that are stored
        if weights.is_floating_point():
            weights.copy_(weights.half())
    scored = ranks(*embed(made.model, prepared.test), prepared.test.caption_to_image)
    told = replace(config, data=PLACE, text_model=elsewhere(config.text_model))
    facts: dict[str, Any] = {
        "command": command_of("pretrain-photos", out, told),
        "config": asdict(told),
        "run": to_json(settings_of(told)),
        "data_hash": prepared.fingerprint,
        "seconds": round(run.seconds),
        "split": prepared.test.split.name,
        "result": bootstrap(scored, seed=config.seed),
        "history": run.rows,
        **provenance(),
    }
    kept = replace(
        made.config,
        data=replace(made.config.data, data=PLACE, token_weights=None, vocabulary=None),
        model=replace(made.config.model, text_model=None, queue_size=None),
        training=replace(made.config.training, use_ema=False),
    )
    about = {**made.metadata, "data": "Flickr8k, photos of people and animals", "terms": TERMS}
    save_model(out, made.model, made.tokenizer, kept, {**about, "provenance": facts}, half=True)
    remove_folder(state)
    return facts
