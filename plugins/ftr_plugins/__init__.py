"""The built-in plugins: light hook modules, and the packages that hold what they register."""
