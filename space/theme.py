"""The look: paper and ink, one accent, the reader's own fonts. Colours are pairs for light and dark."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

_SHEETS = ("base", "ask", "compare", "evaluate", "about")
CSS = "\n".join((Path(__file__).parent / "css" / f"{name}.css").read_text(encoding="utf-8") for name in _SHEETS)
FIRST_PAINT = {  # the colours of css/base.css, as values: the page is drawn before that file is there
    "body_background_fill": "#fcfbf8",
    "body_background_fill_dark": "#171614",
    "body_text_color": "#1f1d1a",
    "body_text_color_dark": "#ece8e1",
}
DRAWN = {  # Gradio's variable → its value, in light and dark alike
    "body_text_color_subdued": "var(--fn-muted)",
    "background_fill_primary": "var(--fn-paper)",
    "background_fill_secondary": "var(--fn-sheet)",
    "border_color_primary": "var(--fn-line)",
    "border_color_accent": "var(--fn-accent)",
    "color_accent": "var(--fn-accent)",
    "color_accent_soft": "var(--fn-sheet)",
    "link_text_color": "var(--fn-accent)",
    "link_text_color_hover": "var(--fn-accent)",
    "link_text_color_visited": "var(--fn-accent)",
    "link_text_color_active": "var(--fn-accent)",
    "block_background_fill": "transparent",
    "block_border_color": "transparent",
    "block_label_text_color": "var(--fn-muted)",
    "block_title_text_color": "var(--fn-muted)",
    "block_info_text_color": "var(--fn-muted)",
    "input_background_fill": "var(--fn-sheet)",
    "input_background_fill_focus": "var(--fn-sheet)",
    "input_border_color": "var(--fn-edge)",
    "input_border_color_focus": "var(--fn-accent)",
    "input_placeholder_color": "var(--fn-muted)",
    "input_shadow_focus": "0 0 0 1px var(--fn-accent)",
    "button_primary_background_fill": "var(--fn-accent)",
    "button_primary_background_fill_hover": "var(--fn-accent-strong)",
    "button_primary_text_color": "var(--fn-on-accent)",
    "button_primary_border_color": "var(--fn-accent)",
    "button_secondary_background_fill": "transparent",
    "button_secondary_background_fill_hover": "var(--fn-sheet)",
    "button_secondary_text_color": "var(--fn-ink)",
    "button_secondary_border_color": "var(--fn-edge)",
    "checkbox_label_background_fill": "transparent",
    "checkbox_label_background_fill_hover": "var(--fn-sheet)",
    "checkbox_label_background_fill_selected": "var(--fn-sheet)",
    "checkbox_label_text_color_selected": "var(--fn-ink)",
    "checkbox_label_border_color": "var(--fn-edge)",
    "checkbox_background_color": "var(--fn-paper)",
    "checkbox_border_color": "var(--fn-edge)",
    "checkbox_background_color_selected": "var(--fn-accent)",
    "checkbox_border_color_selected": "var(--fn-accent)",
}
ICON = Path(__file__).parent / "icon.svg"


def theme() -> gr.themes.Base:
    """Gradio's plainest theme, drawn with the variables of css/base.css."""
    plain = gr.themes.Base(font=SANS, font_mono=MONO, radius_size="sm")
    known = {name: value for name, value in DRAWN.items() if hasattr(plain, f"{name}_dark")}
    dark = {f"{name}_dark": value for name, value in known.items()}
    return plain.set(**DRAWN, **dark, **FIRST_PAINT, block_padding="0")
