"""The categories of objects: their words, size and colours, what they do, and where another thing sits on, in or
under them.

Heights are fractions of the image's height. Anchors are in the kind's own units (see canvas.py): `seat` is
where a rider sits, `top` a surface with its half width, `rim` the floor of a container behind its front,
`room` the space below (half width, height), `head` where a hat rests (x, y, size of the hat), `hand` where
a held thing is.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import animals, creatures, large_animals, objects, people, smallthings, vehicles
from .canvas import COLOURS

DRAWS = (people.DRAWS | animals.DRAWS | large_animals.DRAWS | creatures.DRAWS | vehicles.DRAWS | objects.DRAWS
         | smallthings.DRAWS)  # fmt: skip
FRONTS = {"boat": vehicles.hull, "box": objects.box_front}  # drawn again over what is inside

EXTRA_COLOURS = ("turquoise", "lime", "maroon")  # only in pretrain
EXTRA_PATTERNS = ("zigzag",)
TRAIN_COLOURS = tuple(c for c in COLOURS if c not in EXTRA_COLOURS)
TRAIN_PATTERNS = ("striped", "spotted", "checked")

_FUR = ("brown", "black", "white", "grey", "orange", "yellow", "pink", "blue", "red", "purple", "green")


@dataclass(frozen=True)
class Kind:
    name: str
    family: str  # person | animal | vehicle | furniture | object | food | toy | plant
    height: float
    nouns: tuple[tuple[str, str], ...]  # (singular, plural), the most common first
    where: str = "any"  # out | in | any | sky | water
    actions: tuple[str, ...] = ()
    group: int = 1  # how many may stand together
    outfit: tuple[str, ...] = ()  # of a person: the clothes that have the colour
    patterned: bool = True
    extra: bool = False  # only in pretrain
    seat: tuple[float, float] | None = None
    top: tuple[float, float] | None = None  # (height, half width)
    rim: float | None = None
    room: tuple[float, float] | None = None
    head: tuple[float, float, float] | None = None
    hand: tuple[float, float] | None = None

    @property
    def levels(self) -> tuple[str, ...]:
        """The words for this kind in facts: its own, and those of the classes that it belongs to."""
        return (self.name, *_LEVELS.get(self.name, ()), *_FAMILY_LEVELS.get(self.family, ()))


_LEVELS = {"boy": ("child",), "girl": ("child",), "apple": ("fruit",), "banana": ("fruit",),
           "watermelon": ("fruit",),
           "duck": ("bird",), "penguin": ("bird",), "chicken": ("bird",), "owl": ("bird",)}  # fmt: skip
_FAMILY_LEVELS = {"person": ("person",), "animal": ("animal",), "vehicle": ("vehicle",), "toy": ("toy",)}
CLASS_NOUNS = {"person": ("person", "people"), "child": ("child", "children"),
               "animal": ("animal", "animals"),
               "vehicle": ("vehicle", "vehicles"), "toy": ("toy", "toys"),
               "fruit": ("piece of fruit", "pieces of fruit"),
               "bird": ("bird", "birds")}  # fmt: skip


def _nouns(text: str) -> tuple[tuple[str, str], ...]:
    """ "dog puppy/puppies" -> (("dog", "dogs"), ("puppy", "puppies")); an underscore stands for a space."""
    pairs = []
    for word in text.split():
        one, _, many = word.replace("_", " ").partition("/")
        pairs.append((one, many or one + ("es" if one.endswith(("s", "x", "ch", "sh")) else "s")))
    return tuple(pairs)


_P = ("running", "jumping", "dancing", "waving", "walking")
_PET = ("running", "jumping", "sleeping", "sitting")
_LARGE = ("running", "walking", "sleeping")
_HAND = people.HAND

_ALL = (
    Kind("man", "person", 0.42, _nouns("man/men guy gentleman/gentlemen"), actions=_P,
         outfit=("shirt", "sweater", "jacket"),
         head=(0.0, 0.86, 0.19), hand=_HAND, group=2),
    Kind("woman", "person", 0.41, _nouns("woman/women lady/ladies"), actions=_P, outfit=("dress",),
         head=(0.0, 0.87, 0.2),
         hand=_HAND, group=2),
    Kind("boy", "person", 0.34, _nouns("boy"), actions=_P, outfit=("T-shirt", "shirt"),
         head=(0.0, 0.93, 0.2), hand=_HAND,
         group=3),
    Kind("girl", "person", 0.33, _nouns("girl"), actions=_P, outfit=("dress",), head=(0.0, 0.91, 0.2),
         hand=_HAND, group=3),
    Kind("chef", "person", 0.42, _nouns("chef cook"), actions=("waving", "dancing", "walking"),
         outfit=("jacket", "shirt"),
         hand=_HAND),
    Kind("clown", "person", 0.41, _nouns("clown"), actions=_P, outfit=("suit", "costume"), hand=_HAND,
         group=2),
    Kind("king", "person", 0.42, _nouns("king"), actions=("waving", "dancing"), outfit=("robe", "cape"),
         hand=_HAND),
    Kind("robot", "person", 0.38, _nouns("robot android"), actions=("waving", "dancing", "walking"),
         hand=_HAND, group=2),
    Kind("dog", "animal", 0.23, _nouns("dog puppy/puppies hound"), actions=_PET, group=3,
         head=(0.5, 0.85, 0.27)),
    Kind("cat", "animal", 0.21, _nouns("cat kitten kitty/kitties"), actions=_PET, group=3,
         head=(0.5, 0.85, 0.27)),
    Kind("fox", "animal", 0.22, _nouns("fox"), actions=_PET, group=2),
    Kind("mouse", "animal", 0.15, _nouns("mouse/mice"), actions=("running", "sitting", "sleeping"), group=3),
    Kind("horse", "animal", 0.36, _nouns("horse pony/ponies"), "out", actions=_LARGE, group=2,
         seat=(-0.1, 0.64),
         head=(0.32, 0.93, 0.14)),
    Kind("cow", "animal", 0.28, _nouns("cow"), "out", actions=_LARGE, group=3, seat=(-0.2, 0.84)),
    Kind("sheep", "animal", 0.22, _nouns("sheep/sheep"), "out", actions=_LARGE, group=4),
    Kind("pig", "animal", 0.22, _nouns("pig piglet"), "out", actions=_LARGE, group=3, seat=(-0.2, 0.82),
         head=(0.42, 0.84, 0.27)),
    Kind("elephant", "animal", 0.4, _nouns("elephant"), "out", actions=("walking", "running", "sleeping"),
         seat=(-0.2, 0.87)),
    Kind("giraffe", "animal", 0.54, _nouns("giraffe"), "out", actions=("walking", "running"), group=2),
    Kind("bear", "animal", 0.34, _nouns("bear"), actions=("walking", "jumping", "sitting", "sleeping"),
         head=(0.02, 0.93, 0.17),
         hand=(0.32, 0.36)),
    Kind("rabbit", "animal", 0.21, _nouns("rabbit bunny/bunnies"), actions=("jumping", "sleeping"), group=4),
    Kind("bird", "animal", 0.15, _nouns("bird"), "sky", actions=("flying",), group=4),
    Kind("duck", "animal", 0.18, _nouns("duck"), "out", actions=("flying",), group=4,
         head=(0.26, 0.93, 0.26)),
    Kind("chicken", "animal", 0.19, _nouns("chicken hen"), "out", group=4),
    Kind("penguin", "animal", 0.27, _nouns("penguin"), actions=("jumping", "waving"), group=4,
         head=(0.02, 0.94, 0.22),
         hand=(0.42, 0.42)),
    Kind("frog", "animal", 0.16, _nouns("frog toad"), "out", actions=("jumping",), group=3,
         head=(0.0, 0.84, 0.3)),
    Kind("turtle", "animal", 0.16, _nouns("turtle tortoise"), "out", group=3, seat=(-0.1, 0.94)),
    Kind("butterfly", "animal", 0.14, _nouns("butterfly/butterflies"), "sky", actions=("flying",), group=4),
    Kind("car", "vehicle", 0.22, _nouns("car automobile"), "out", group=2, top=(0.97, 0.4)),
    Kind("bus", "vehicle", 0.31, _nouns("bus"), "out"),
    Kind("truck", "vehicle", 0.3, _nouns("truck lorry/lorries"), "out"),
    Kind("train", "vehicle", 0.29, _nouns("train locomotive"), "out"),
    Kind("bicycle", "vehicle", 0.27, _nouns("bicycle bike/bicycles"), "out", group=2, seat=(-0.26, 0.93)),
    Kind("scooter", "vehicle", 0.25, _nouns("scooter"), "any", top=(0.24, 0.2)),
    Kind("skateboard", "vehicle", 0.07, _nouns("skateboard"), "any", top=(0.84, 1.0)),
    Kind("tractor", "vehicle", 0.31, _nouns("tractor"), "out", seat=(-0.36, 0.58)),
    Kind("boat", "vehicle", 0.36, _nouns("boat sailboat"), "water", rim=0.2),
    Kind("plane", "vehicle", 0.16, _nouns("plane airplane jet"), "sky", actions=("flying",)),
    Kind("hot-air balloon", "vehicle", 0.32, _nouns("hot-air_balloon"), "sky", actions=("floating",),
         group=2),
    Kind("chair", "furniture", 0.28, _nouns("chair seat"), group=3, seat=(0.02, 0.5), top=(0.5, 0.3)),
    Kind("table", "furniture", 0.22, _nouns("table desk"), top=(1.0, 0.85), room=(0.7, 0.8)),
    Kind("sofa", "furniture", 0.25, _nouns("sofa couch"), "in", seat=(0.0, 0.5), top=(0.47, 0.7)),
    Kind("bed", "furniture", 0.24, _nouns("bed"), "in", seat=(0.3, 0.56), top=(0.56, 0.6)),
    Kind("bench", "furniture", 0.2, _nouns("bench"), "any", seat=(0.0, 0.55), top=(0.55, 0.9)),
    Kind("lamp", "object", 0.26, _nouns("lamp"), "in", group=2),
    Kind("box", "object", 0.17, _nouns("box crate"), group=3, top=(0.84, 0.45), rim=0.5),
    Kind("umbrella", "object", 0.3, _nouns("umbrella parasol"), room=(0.45, 0.5)),
    Kind("book", "object", 0.12, _nouns("book"), group=3),
    Kind("guitar", "object", 0.25, _nouns("guitar")),
    Kind("drum", "object", 0.15, _nouns("drum"), group=2),
    Kind("tent", "object", 0.33, _nouns("tent"), "out", group=2),
    Kind("suitcase", "object", 0.17, _nouns("suitcase"), group=3, top=(0.82, 0.5)),
    Kind("hat", "object", 0.08, _nouns("hat"), group=2),
    Kind("clock", "object", 0.15, _nouns("clock"), "in", group=2),
    Kind("cup", "object", 0.12, _nouns("cup mug"), group=3),
    Kind("apple", "food", 0.11, _nouns("apple"), group=4),
    Kind("banana", "food", 0.09, _nouns("banana"), group=3),
    Kind("pizza", "food", 0.13, _nouns("slice_of_pizza/slices_of_pizza"), group=3),
    Kind("cake", "food", 0.15, _nouns("cake"), group=2),
    Kind("ice cream", "food", 0.16, _nouns("ice_cream"), group=3),
    Kind("pumpkin", "food", 0.15, _nouns("pumpkin"), group=4),
    Kind("ball", "toy", 0.12, _nouns("ball"), group=4),
    Kind("balloon", "toy", 0.3, _nouns("balloon"), "sky", actions=("floating",), group=4),
    Kind("kite", "toy", 0.3, _nouns("kite"), "sky", actions=("flying",), group=2),
    Kind("teddy bear", "toy", 0.17, _nouns("teddy_bear"), group=3),
    Kind("blocks", "toy", 0.15, _nouns("pile_of_blocks/piles_of_blocks"), group=1),
    Kind("tree", "plant", 0.5, _nouns("tree"), "out", group=3, room=(0.32, 0.36)),
    Kind("flower", "plant", 0.18, _nouns("flower"), group=4),
    Kind("cactus", "plant", 0.3, _nouns("cactus/cacti"), group=3),
    Kind("mushroom", "plant", 0.16, _nouns("mushroom toadstool"), "out", group=4, room=None),
    Kind("potted plant", "plant", 0.22, _nouns("potted_plant houseplant"), group=3),
    # only in pretrain
    Kind("astronaut", "person", 0.42, _nouns("astronaut"), actions=("waving", "jumping", "walking"),
         outfit=("suit",),
         hand=_HAND, extra=True),
    Kind("pirate", "person", 0.42, _nouns("pirate"), actions=("waving", "running", "dancing"),
         outfit=("coat", "shirt"),
         hand=_HAND, extra=True),
    Kind("snowman", "person", 0.38, _nouns("snowman/snowmen"), "out", outfit=("scarf",), extra=True),
    Kind("lion", "animal", 0.28, _nouns("lion"), "out", actions=_LARGE, extra=True),
    Kind("owl", "animal", 0.2, _nouns("owl"), group=3, extra=True),
    Kind("octopus", "animal", 0.22, _nouns("octopus"), group=2, extra=True),
    Kind("dinosaur", "animal", 0.36, _nouns("dinosaur"), group=2, extra=True),
    Kind("snail", "animal", 0.14, _nouns("snail"), "out", group=3, extra=True),
    Kind("rocket", "vehicle", 0.38, _nouns("rocket"), "out", group=2, extra=True),
    Kind("helicopter", "vehicle", 0.18, _nouns("helicopter"), "sky", actions=("flying",), extra=True),
    Kind("donut", "food", 0.12, _nouns("donut doughnut"), group=3, extra=True),
    Kind("watermelon", "food", 0.11, _nouns("slice_of_watermelon/slices_of_watermelon"), group=2, extra=True),
    Kind("carrot", "food", 0.13, _nouns("carrot"), group=3, extra=True),
    Kind("palm tree", "plant", 0.5, _nouns("palm_tree palm"), "out", group=2, extra=True),
)  # fmt: skip
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
TRAIN_KINDS = tuple(k.name for k in _ALL if not k.extra)

POSES = {"": "stand", "running": "run", "jumping": "jump", "dancing": "dance", "waving": "wave",
         "walking": "walk",
         "sleeping": "sleep", "sitting": "sit", "flying": "fly", "floating": "stand"}  # fmt: skip

# Which kinds may do what with which. Small animals sit or stand where people sit.
PEOPLE = tuple(k.name for k in _ALL if k.family == "person" and k.hand is not None)
SMALL = ("dog", "cat", "fox", "mouse", "rabbit", "penguin", "frog", "duck", "chicken", "bear", "pig", "owl")
RESTERS = ("dog", "cat", "fox", "rabbit", "mouse", "bear")
FOODS = tuple(k.name for k in _ALL if k.family == "food")
HELD = ("umbrella", "balloon", "kite", "flower", "ice cream", "book", "apple", "banana", "pizza", "cake",
        "teddy bear", "ball",
        "cup", "donut", "carrot")  # fmt: skip
LOW = ("ball", "teddy bear", "apple", "banana", "pumpkin", "cake", "cup", "book", "clock", "box", "hat",
       "lamp", "potted plant",
       "blocks", "cactus", "donut", "watermelon")  # fmt: skip
VERBS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "riding": ((*PEOPLE, *SMALL), ("bicycle", "scooter", "skateboard", "horse", "elephant", "cow", "pig",
                                   "turtle", "tractor")),
    "holding": ((*PEOPLE, "bear", "penguin"), HELD),
    "wearing": (tuple(k.name for k in _ALL if k.head is not None), ("hat",)),
    "playing": (PEOPLE, ("guitar", "drum")),
    "kicking": (PEOPLE, ("ball",)),
    "sitting on": ((*PEOPLE, "cat", "dog", "fox", "mouse", "bear", "teddy bear"),
                   ("chair", "sofa", "bed", "bench", "box", "table")),
    "sleeping on": (RESTERS, ("sofa", "bed", "bench", "table")),
    "standing on": (("penguin", "duck", "chicken", "dog", "cat", "robot", "boy", "girl", "clown", "frog",
                     "owl"),
                    ("table", "box", "bench", "suitcase", "car")),
    "on": (LOW, ("table", "chair", "bench", "sofa", "bed", "box", "suitcase")),
    "under": ((*SMALL, *LOW, "boy", "girl", "sheep", "turtle"), ("table", "tree")),
    "in": (("cat", "dog", "mouse", "rabbit", "teddy bear", "penguin", "duck", "boy", "girl", "man", "woman",
            "king", "pirate", "clown",
            "robot", "bear"), ("boat", "box")),
    "chasing": (("dog", "cat", "fox", "mouse", "boy", "girl", "man", "lion", "clown"),
                ("dog", "cat", "fox", "mouse", "rabbit", "pig", "sheep", "boy", "girl")),
    "behind": ((*PEOPLE, *SMALL, "horse", "cow", "sheep", "giraffe", "elephant", "tree"),
               ("car", "truck", "bus", "train", "tractor", "table", "sofa", "bench", "tent", "box",
                "pumpkin", "suitcase", "bed", "drum",
                "sheep", "pig", "turtle")),
}  # fmt: skip
