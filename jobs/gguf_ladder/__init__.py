"""What a ladder is made of: held-out text, divergence, speed, the rows, their table and their plot."""
