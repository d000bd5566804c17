"""The classifier in scikit-learn's manners: rows of numbers in, classes out, without TensorFlow."""
