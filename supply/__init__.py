"""What we take from others: known weaknesses, licences. For development; nothing of it is installed at a site."""
