"""Image data sets: published ones by name, scikit-learn's photographs, a user's own folder."""
