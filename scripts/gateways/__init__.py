"""README's table of providers and the pages of docs/gateways/, written from one table."""
