"""The checks, by what they are about; each is a test method named after what must hold."""
