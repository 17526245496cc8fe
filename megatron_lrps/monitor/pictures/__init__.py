"""Pictures: learning rates, losses, the tree of paths, studies."""
