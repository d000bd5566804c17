"""Picture files and folders of them, for data sets and for users alike."""
