"""The plot: results.svg, on a transparent ground with colours that show on white and on black."""
import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "millrace", "font.family": "sans-serif", "font.size": 10,
    "axes.titlesize": 11, "axes.facecolor": "none"
})

from matplotlib import pyplot  # noqa: E402

INK, INSIDE, FIRST, SECOND, TARGET = "#7d8590", "#ffffff", "#2f6fdb", "#8957e5", "#e5534b"
WIDTH = 0.8  # of a group of bars


def short(value):
    return f"{value / 1000:.1f}k" if value >= 9950 else f"{value:,.0f}" if value >= 20 else f"{value:.2f}"


def bars(axes, title, labels, *series):
    """Groups of bars.  A series is its name or None, its color, its values, and their targets, each a level or None."""
    axes.set_title(title, color=INK, loc="left")
    width = WIDTH / len(series)
    levels = {}
    for number, (name, color, values, targets) in enumerate(series):
        places = [group - WIDTH / 2 + width * (number + 0.5) for group in range(len(labels))]
        axes.bar(places, values, width * 0.94, color=color, label=name)
        for place, value, target in zip(places, values, targets):
            axes.annotate(short(value), (place, 0), (0, 3), textcoords="offset points", ha="center", color=INSIDE,
                          fontsize=8)
            if target is not None:
                levels["target"] = axes.hlines(target, place - width / 2, place + width / 2, color=TARGET, linewidth=2)
    axes.set_xticks(range(len(labels)), labels)
    axes.tick_params(colors=INK, length=0, labelleft=False)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)
    handles, names = axes.get_legend_handles_labels()
    legend = axes.legend([*handles, *levels.values()], [*names, *levels], frameon=False, fontsize=8, loc="lower right",
                         ncols=3, bbox_to_anchor=(1, 1), borderaxespad=0.3)
    for text in legend.get_texts():
        text.set_color(INK)


def column(rows, place):
    return [row["cells"][place] for row in rows]


def limits(rows, kind="at_least"):
    """The level that each row must reach, or stay under; None where there is no target."""
    return [next((check[kind] for check in row["checks"] if kind in check), None) for row in rows]


def names(rows, known):
    """The short names of the rows, and their clients below."""
    return [
        f"{next((name for text, name in known.items() if text in row['cells'][0]), row['cells'][0])}\n{row['cells'][1]}"
        for row in rows
    ]


def draw_load(axes, rows):
    durable, volatile = ([row for row in rows if row["cells"][0] == kind] for kind in ("yes", "no"))
    bars(axes, "The load over HTTP: operations/s, by workers", column(durable, 1),
         ("durable", FIRST, column(durable, 2), limits(durable)),
         ("not durable", SECOND, column(volatile, 2), limits(volatile)))


def draw_append(axes, rows):
    known = {"one message": "one", "append_messages": "100, to bulk", "the same": "100, to 100"}
    bars(axes, "Appends by SQL: rate of Millrace / rate of a plain INSERT, by messages and clients", names(rows, known),
         (None, FIRST, column(rows, 4), limits(rows)))


def draw_message_db(axes, rows):
    known = {
        "over HTTP": "HTTP", "get_stream": "stream", "get_last": "last", "group": "group", "get_category": "category",
        "write": "write"
    }
    bars(axes, "Message DB: rate of Millrace / rate of Message DB, by call and clients", names(rows, known),
         (None, FIRST, column(rows, 4), limits(rows)))


def draw_wal(axes, rows):
    bars(axes, "WAL: bytes a message", [row["cells"][0].replace("`", "") for row in rows],
         ("after a checkpoint", FIRST, column(rows, 1), limits(rows, "at_most")),
         ("without page images", SECOND, column(rows, 2), [None] * len(rows)))


def draw_growth(axes, rows):
    labels = [row["cells"][0].replace(", ", "\n").replace(" of a", "\nof a").replace(" to ", "\nto ") for row in rows]
    bars(axes, "Growth: cost at the large size / cost at the small one", labels,
         (None, FIRST, column(rows, 3), limits(rows, "at_most")))


DRAWN = {
    "load": draw_load, "append": draw_append, "message-db": draw_message_db, "wal": draw_wal, "growth": draw_growth
}


def figure(results):
    parts = [(draw, results[name]["rows"]) for name, draw in DRAWN.items() if results.get(name, {}).get("rows")]
    drawing, axes = pyplot.subplots(max(1, len(parts)), 1, figsize=(9, 2.3 * max(1, len(parts))), squeeze=False)
    for (draw, rows), each in zip(parts, axes[:, 0]):
        draw(each, rows)
    drawing.tight_layout(h_pad=1.5)
    return drawing


def write(results, path):
    figure(results).savefig(path, transparent=True, metadata={"Date": None})
