"""The fault matrix: what a user gets when the network or a gateway misbehaves."""
