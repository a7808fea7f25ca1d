"""The web door: portal, downloads and the patient's page."""
