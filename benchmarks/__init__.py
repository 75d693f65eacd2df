"""Speed and memory beside the tool that a user would take instead, paired in one run, as a ratio: `make bench`."""
