"""Letters drawn with the fonts inside matplotlib: what the generated data sets are made of."""
