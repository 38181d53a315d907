"""HTTP/2: many requests at once over each connection. Needs ngh2."""
