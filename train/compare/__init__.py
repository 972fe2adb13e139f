"""The published study's figures beside ours: as it was published, and with its errors mended."""
