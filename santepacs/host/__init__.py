"""The machine that santepacs stands on: accounts, folders, locks, keys, sockets, names."""
