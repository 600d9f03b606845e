//! vmwire: client.
