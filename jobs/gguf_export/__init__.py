"""What an export is made of: the GGUF writer, the importance matrix, the quantiser, and the gate before publishing."""
