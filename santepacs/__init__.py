"""santepacs: a PACS in one program."""
