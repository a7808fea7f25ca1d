"""The words of the house: plain values and pure functions. Standard library only."""
