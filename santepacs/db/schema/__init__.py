"""Numbered schema migrations, plain SQL."""
