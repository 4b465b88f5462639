"""One pair of files a revision, in the order of their numbers."""
