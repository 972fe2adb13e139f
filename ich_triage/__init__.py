"""A DICOM listener that finds intracranial haemorrhage in head CT."""
