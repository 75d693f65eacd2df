"""What an export is made of: the GGUF writer, the importance matrix, the quantiser, and the checks before publishing."""
