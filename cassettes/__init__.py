"""Recorded calls: a cassette for each feature and each error that the gateways document."""
