"""Side-by-side benchmark of santepacs and other servers on one machine: see README.md."""
