"""HTML pages: plots, scales, a shared style, and how a page is rendered and written."""
