"""From labelled slices to a calibrated, evaluated model package."""
