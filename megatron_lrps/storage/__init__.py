"""Storage. In: content and paths. Out: files that no crash tears, one writer for each folder, and room for saves."""
