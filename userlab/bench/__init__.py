"""Speed, measured: each part of the library beside the way the field writes it and beside the machine's limit."""
