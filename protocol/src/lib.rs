//! vmwire: protocol.
