"""The explorer: a local page on which one looks at what models draw. `explorer` draws, `page` shows."""
