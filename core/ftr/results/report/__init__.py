"""`ftr report`: what a finished run or sweep is worth, as one HTML page and as Markdown."""
