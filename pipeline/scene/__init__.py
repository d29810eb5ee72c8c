"""A drawn face that talks, its voice and the voices off screen: media of which everything is known."""
