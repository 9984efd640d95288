//! Through the public interfaces: the HTTP API of a running service, and the rules the sources keep.

mod arrows;
