"""What scheduler and workers say to each other: messages, events and their signatures."""
