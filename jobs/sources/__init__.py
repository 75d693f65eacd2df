"""Where documents come from: this machine, arXiv, the web and the Hub. Each module lists its documents as `Item`s."""
