"""A link as a person sees it: read, judged and put into words, for the command line and the console."""
