"""Files that no crash tears, one writer for each folder, and room on the disk."""
