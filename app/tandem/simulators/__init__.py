"""Wire-true stand-ins for the far ends: a carrier that calls, a provider that answers."""
