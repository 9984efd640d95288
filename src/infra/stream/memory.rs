//! An in-process stream behind the [`Stream`](super::Stream) port.
