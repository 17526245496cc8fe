"""A campaign on one HTML page."""
