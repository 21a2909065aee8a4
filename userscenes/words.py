"""The words of captions: phrases for settings, times of day and weather, synonyms, and forms of verbs."""

from __future__ import annotations

SETTING_PHRASES: dict[str, tuple[str, ...]] = {
    "beach": (
        "on the beach",
        "at the beach",
        "on a sandy beach",
        "by the sea",
        "at the seaside",
        "near the ocean",
    ),
    "park": ("in the park", "in a park", "in a green park", "along a park path"),
    "street": (
        "on the street",
        "on a street",
        "in front of some houses",
        "on the road",
        "along a row of houses",
    ),
    "forest": ("in the forest", "in the woods", "in a forest", "among tall firs"),
    "farm": ("on a farm", "on the farm", "near a barn", "by a red barn", "in a field by the barn"),
    "mountains": ("in the mountains", "near the mountains", "below snowy peaks", "in front of the mountains"),
    "desert": ("in the desert", "in a desert", "among the dunes", "in a dry desert"),
    "lake": ("by the lake", "at the lake", "on the shore of a lake", "beside a lake", "by the water"),
    "garden": (
        "in the garden",
        "in a garden",
        "by a picket fence",
        "in the back yard",
        "near a garden fence",
    ),
    "playground": ("at the playground", "on a playground", "near the swings", "by a slide and swings"),
    "city": ("in the city", "in a big city", "downtown", "in front of tall buildings", "on a city square"),
    "living room": ("in the living room", "in a living room", "in a cosy lounge", "on the living room floor"),
    "kitchen": ("in the kitchen", "in a kitchen", "on the kitchen floor", "in a tidy kitchen"),
    "bedroom": ("in the bedroom", "in a bedroom", "in a bedroom with a wardrobe"),
    "classroom": ("in the classroom", "in a classroom", "at school", "in front of a blackboard"),
    "moon": ("on the moon", "on the surface of the moon"),
    "castle": ("in front of a castle", "near the castle", "by a castle"),
    "circus": ("at the circus", "in the circus ring"),
}
SETTING_NOUNS: dict[str, tuple[str, ...]] = {
    "beach": ("beach", "seaside"), "park": ("park",), "street": ("street", "road"),
    "forest": ("forest", "woods"), "farm": ("farm",), "mountains": ("mountains",), "desert": ("desert",),
    "lake": ("lake", "lakeside"),
    "garden": ("garden", "yard"), "playground": ("playground",), "city": ("city", "downtown"),
    "living room": ("living room", "lounge"), "kitchen": ("kitchen",), "bedroom": ("bedroom",),
    "classroom": ("classroom", "school"), "moon": ("moon",), "castle": ("castle",), "circus": ("circus",),
}  # fmt: skip
TIME_PHRASES = {"day": ("during the day", "in the daytime", "in daylight"),
                "sunset": ("at sunset", "in the evening", "at dusk"),
                "night": ("at night", "after dark", "late at night")}  # fmt: skip
WEATHER_PHRASES = {
    "sunny": ("under a clear sky", "in fine weather"),
    "cloudy": ("under a cloudy sky", "under grey clouds", "in cloudy weather"),
    "rainy": ("in the rain", "in rainy weather", "while it rains", "on a wet day"),
    "snowy": ("in the snow", "while it snows", "in snowy weather", "in falling snow"),
    "foggy": ("in the fog", "in foggy weather", "in the mist", "in thick fog"),
}  # fmt: skip
SUNNY_DAY = ("on a sunny day", "in the sunshine", "on a bright day")
WEATHER_WORDS = {"sunny": "clear", "cloudy": "cloudy", "rainy": "rainy", "snowy": "snowy", "foggy": "foggy"}

COLOUR_WORDS: dict[str, tuple[str, ...]] = {"red": ("red", "red", "red", "red", "scarlet"),
                                            "purple": ("purple", "purple", "purple", "violet"),
                                            "grey": ("grey", "grey", "grey", "silver")}  # fmt: skip
PATTERN_WORDS = {"striped": ("striped", "stripy"), "spotted": ("spotted", "dotted", "polka-dot"),
                 "checked": ("checked", "chequered"), "zigzag": ("zigzag",)}  # fmt: skip
SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
NUMBERS = {2: "two", 3: "three", 4: "four"}
SIDES = {"left": ("on the left", "on the left side", "at the left"),
         "right": ("on the right", "on the right side", "at the right"),
         "middle": ("in the middle", "in the centre")}  # fmt: skip

# (participle, third person singular, plural)
Forms = tuple[str, str, str]
ACTIONS: dict[str, tuple[Forms, ...]] = {
    "running": (("running", "runs", "run"), ("dashing along", "dashes along", "dash along"),
                ("racing", "races", "race")),
    "jumping": (("jumping", "jumps", "jump"), ("leaping", "leaps", "leap"), ("hopping", "hops", "hop")),
    "dancing": (("dancing", "dances", "dance"),),
    "waving": (("waving", "waves", "wave"), ("saying hello", "says hello", "say hello")),
    "walking": (("walking", "walks", "walk"), ("strolling", "strolls", "stroll"),
                ("taking a walk", "takes a walk", "take a walk")),
    "sleeping": (("sleeping", "sleeps", "sleep"), ("napping", "naps", "nap"),
                 ("taking a nap", "takes a nap", "take a nap")),
    "sitting": (("sitting", "sits", "sit"), ("sitting down", "sits down", "sit down")),
    "flying": (("flying", "flies", "fly"), ("flying in the air", "flies in the air", "fly in the air")),
    "floating": (("floating", "floats", "float"), ("drifting", "drifts", "drift"),
                 ("floating in the air", "floats in the air", "float in the air")),
}  # fmt: skip
# The forms of relations whose first word is a verb, each with the words that follow it.
RELATION_VERBS: dict[str, tuple[Forms, ...]] = {
    "riding": (
        ("riding", "rides", "ride"),
        ("riding", "rides", "ride"),
        ("riding on", "rides on", "ride on"),
    ),
    "holding": (("holding", "holds", "hold"), ("carrying", "carries", "carry"), ("holding", "holds", "hold")),
    "wearing": (("wearing", "wears", "wear"),),
    "playing": (("playing", "plays", "play"),),
    "kicking": (("kicking", "kicks", "kick"),),
    "chasing": (("chasing", "chases", "chase"), ("running after", "runs after", "run after")),
    "sitting on": (("sitting on", "sits on", "sit on"),),
    "sleeping on": (("sleeping on", "sleeps on", "sleep on"), ("napping on", "naps on", "nap on")),
    "standing on": (
        ("standing on", "stands on", "stand on"),
        ("standing on top of", "stands on top of", "stand on top of"),
    ),
}
RELATION_PREPOSITIONS: dict[str, tuple[str, ...]] = {
    "on": ("on", "on top of"), "under": ("under", "beneath", "underneath"), "in": ("in", "inside"),
    "behind": ("behind",),
    "in front of": ("in front of",), "next to": ("next to", "beside", "near", "close to"),
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"), "above": ("above", "over"), "below": ("below",),
    "with": ("with",),
}  # fmt: skip


def article(words: str) -> str:
    """ "a" or "an" before the words, none of which begins with a silent h or with a u as in "unit"."""
    return "an" if words[0].lower() in "aeiou" else "a"
