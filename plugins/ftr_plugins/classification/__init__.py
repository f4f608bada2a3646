"""Classification of a text, or of a pair of texts, into one of several classes."""
