"""The card of a shared index: of which images it is, by which model, and what it reveals of them."""

from collections.abc import Mapping
from typing import Any

from userlib.model.card import card_of, place
from userlib.search.upkeep import Contents


def index_card(index: Contents, title: str, given: Mapping[str, Any]) -> str:
    """The README.md of a shared index. given: fields that replace those of the header, and `title`."""
    header = {"library_name": "userlib", "tags": ["image-text-retrieval", "userlib-index"], **given}
    title = header.pop("title", title)
    encoder = index.encoder.cache_key()
    text = (
        f"The vectors of {len(index.ids):,} images"
        + (f" and {len(index.texts):,} captions" if index.texts else "")
        + f" of `{place(index.source.get('data'))}`, to be searched by text or image. The images themselves are not in "
        "it; their names and captions are.\n\n## How to use it\n\nWith the model that made it "
        f"(`{encoder['kind']}`, weights `{str(encoder.get('weights'))[:12]}`):\n\n```python\n"
        f'index = Index.from_pretrained("{title}", encoder)\nindex.search("two dogs on a beach", 5)\n```\n\n'
        "## Limits\n\n"
        + (f"{index.warning} " if index.warning else "")
        + "Vectors reveal something of the images that they were made from: share an index only if you may share the "
        "images. Licence and terms are those of the images, captions and model."
    )
    return card_of(title, text, header)
