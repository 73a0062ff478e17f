"""What is fast and what is not: each figure beside a named alternative, in one run (`make bench`)."""
