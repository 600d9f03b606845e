//! The bridge that ssh runs on the far side: standard input and output joined to the daemon's socket.
