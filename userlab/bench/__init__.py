"""Speed: each part of the library, compared with a reference implementation and the machine's roofline."""
