//! Two and more phones in a world without a network.
