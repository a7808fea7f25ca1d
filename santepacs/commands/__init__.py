"""What a person types: the administration command."""
