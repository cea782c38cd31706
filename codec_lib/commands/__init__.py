"""The command line: a module for each command, and what they share.

`parser` puts them together; `options` and `files` hold what several commands do alike. Each command imports what takes
seconds, torch above all, only when it runs. Imports everything else. Begin with `encode`.
"""
