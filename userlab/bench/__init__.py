"""Speed, measured: each part of the library next to a reference and the machine's roofline."""
