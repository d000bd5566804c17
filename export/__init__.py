"""Exports of a trained model: SavedModel for servers, LiteRT files for phones and browsers, and what runs them."""
