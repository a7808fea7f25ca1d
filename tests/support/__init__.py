"""What several tests share; each module has one subject."""
