"""Search for settings of the SIB model, with keras-tuner."""
