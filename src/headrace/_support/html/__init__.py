"""What pages for a browser are made of: plots, scales, the style they share, and how they are written."""
