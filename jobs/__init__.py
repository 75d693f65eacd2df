"""The jobs: `python -m jobs.<step>` reads folders and writes one. The only home of torch."""
