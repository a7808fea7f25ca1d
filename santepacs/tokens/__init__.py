"""The token protocol for hospital and radiology information systems."""
