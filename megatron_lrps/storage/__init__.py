"""Storage: files that no crash tears, one writer for each folder, and room for saves."""
