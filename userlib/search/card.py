"""The card of a shared index: which images, by which model, and what it shows of them."""

from collections.abc import Mapping
from typing import Any

from userlib.model.card import card_of, place
from userlib.search.upkeep import Contents


def index_card(index: Contents, title: str, given: Mapping[str, Any]) -> str:
    """A README.md of a shared index. given: fields of the header that replace those told here, and `title`."""
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
        + "Vectors can tell something of the images that they were made of: share an index only where you may share "
        "the images. Licence and terms are those of the images, captions and model."
    )
    return card_of(title, text, header)
