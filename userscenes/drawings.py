"""What drawings look like to userlib.search.drawings, measured on this world: python -m userscenes.drawings."""

import json
import sys

from userlib.files import read_json, write_json
from userlib.search.drawings import FILE, measure
from userscenes import make_world

COUNT = 1_200  # drawings measured


def main() -> int:
    """Measures and stores them."""
    world = make_world("train", COUNT)
    write_json(FILE, measure([world.picture(i) for i in range(len(world))]), over=True)
    print(json.dumps({"limit": read_json(FILE)["limit"], "file": str(FILE)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
