"""How fast the project is, side by side with others: every figure is a ratio of medians taken in turns."""
