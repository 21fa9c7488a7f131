"""What runs for minutes and is looked at: soaks and measurements, all on loopback."""
