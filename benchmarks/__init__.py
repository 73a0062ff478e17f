"""Speed: each figure against a named alternative, measured in the same run (`make bench`)."""
