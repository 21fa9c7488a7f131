"""What makes a release: both distributions built and checked, installed, and named by a tag."""
