"""The plot that grows, as numbers in its SVG: where its lines are, what its bands bound, and what it says in words."""

from __future__ import annotations

import re

from space.plot import HEIGHT, WIDTH, Point, running_plot

BASE = [Point(1.0, 0.2, 1.0), Point(0.5, 0.1, 0.9)]
TUNED = [Point(0.0, 0.0, 0.8), Point(0.5, 0.1, 0.9), Point(2 / 3, 0.2, 0.9)]


def coordinates(html: str, group: str, shape: str) -> list[tuple[float, float]]:
    """The points of a series' line or band."""
    points = re.search(rf'<g class="{group}">.*?<{shape} points="([^"]*)"', html)[1]
    return [tuple(map(float, pair.split(","))) for pair in points.split()]


def test_lines_begin_at_the_first_question_and_end_where_the_run_is() -> None:
    html = running_plot(BASE, TUNED, 5, 0.25)
    base, tuned = (coordinates(html, name, "polyline") for name in ("fn-base", "fn-tuned"))
    assert [x for x, _ in tuned] == [1.0, 25.5, 50.0]  # a question of five is a quarter of the width
    assert base == [(1.0, 2.0), (25.5, 50.0)]  # all right is at the top, half in the middle
    assert tuned[0] == (1.0, HEIGHT - 2)
    everything = [*base, *tuned, *coordinates(html, "fn-base", "polygon"), *coordinates(html, "fn-tuned", "polygon")]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in everything)


def test_a_band_runs_along_the_upper_bounds_and_back_along_the_lower_ones() -> None:
    band = coordinates(running_plot(BASE, TUNED, 5, 0.25), "fn-base", "polygon")
    assert [x for x, _ in band] == [1.0, 25.5, 25.5, 1.0]
    assert [y for _, y in band] == [2.0, 11.6, 88.4, 78.8]


def test_one_answer_is_seen_and_none_is_said() -> None:
    line = coordinates(running_plot(BASE[:1], TUNED[:1], 1, 0.25), "fn-base", "polyline")
    assert len(line) == 2
    assert line[0] != line[1]
    nothing = running_plot([], [], 10, 0.25)
    assert "<polyline" not in nothing
    assert 'aria-label="Running accuracy; no question is answered yet"' in nothing


def test_the_plot_tells_its_figures_in_words_and_marks_chance() -> None:
    html = running_plot(TUNED, TUNED, 10, 0.25)
    assert 'role="img" aria-label="Accuracy after 3 questions: base 67%, fine-tuned 67%"' in html
    assert re.search(r'class="fn-chance" x1="0" x2="100.0" y1="([\d.]+)"', html)[1] == "74.0"
    assert re.findall(r'left:[\d.]+%">(\d+)<', html) == ["1", "5", "10"]
    assert re.findall(r'left:[\d.]+%">(\d+)<', running_plot(BASE[:1], TUNED[:1], 1, 0.25)) == ["1"]
