"""Delimited-frame protocols on a socket: framing and conversation."""
