"""The texts that a figure shows, and which of them are small."""

from matplotlib.text import Text

SMALLEST = 9  # points: 8.7 pixels where a narrow window shows 5.6 inches at 390 pixels


def words_of(figure) -> list[Text]:
    """Every text that a figure shows, tick labels included."""
    hidden = {
        id(label)
        for axes in figure.findobj(lambda one: hasattr(one, "get_xaxis"))
        for axis in (axes.xaxis, axes.yaxis)
        if not (axes.axison and axis.get_visible())
        for label in axis.findobj(Text)
    }
    return [
        one for one in figure.findobj(Text)
        if one.get_visible() and one.get_text().strip() and id(one) not in hidden
    ]  # fmt: skip


def small_words(figure) -> list[tuple[str, float]]:
    """The texts below SMALLEST, with their sizes, once the figure is drawn or not."""
    sizes = [(one.get_text(), one.get_fontsize()) for one in words_of(figure)]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            sizes += [(f"tick of {axis.axis_name}", one.get_fontsize()) for one in axis.get_majorticklabels()]
    return sorted({(words, size) for words, size in sizes if size < SMALLEST})
