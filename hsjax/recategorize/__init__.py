"""Discovery and refinement: clusters of a branch, proposals, review, a new tree."""
