"""The table of the demo's models in docs/results.md is what they store; run as a script it prints the table."""

from pathlib import Path

from usercourse.demo.gallery import MODEL_DIR
from usercourse.demo.models import RECIPES
from userlib.checkpoints import read_checkpoint

ROOT = Path(__file__).parents[1]
COLUMNS = ("i2t_r1", "i2t_r10", "t2i_r1", "t2i_r10", "rsum")


def table() -> list[str]:
    """The lines of the table, made from the metrics stored with each model."""
    lines = ["| model | i2t R@1 | R@10 | t2i R@1 | R@10 | rSum |", "| --- | --: | --: | --: | --: | --: |"]
    for name, recipe in RECIPES.items():
        scores = read_checkpoint(MODEL_DIR / name)[1]["metadata"]["test"]
        lines.append(f"| {recipe.title} | {' | '.join(f'{scores[column]:.1f}' for column in COLUMNS)} |")
    return lines


def test_the_table_shows_what_the_models_store() -> None:
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    for line in table():
        assert line in text, (
            f"run `python tests/{Path(__file__).name}` and put its lines into docs/results.md"
        )


if __name__ == "__main__":
    print("\n".join(table()))
