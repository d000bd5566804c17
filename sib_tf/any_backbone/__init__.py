"""What makes one head fit every backbone: features made alike, and backbones that nobody trained to train it on."""
