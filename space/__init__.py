"""The page: tabs, wiring, and the generators behind them. The only home of gradio; imports neither jobs nor torch."""
