"""Reports of recorded runs: one self-contained page, a PDF, figures; reads run folders only."""
