"""How long a sweep takes, and what it needs: a model of its packs from what was measured of others."""
