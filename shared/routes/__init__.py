"""HTTP: one router for each area, and what all of them share."""
