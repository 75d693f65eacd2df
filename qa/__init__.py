"""What training, evaluation and the Space must agree on. Imports neither torch nor gradio."""
