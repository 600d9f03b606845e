//! The host and the daemon.

use super::event::Cursor;
use crate::wire_struct;
use crate::xdr::{Fixed, List, Text};

wire_struct! {
    /// What the host is.
    pub struct HostInfoAnswer {
        /// Its name.
        pub hostname: Text<256>,
        /// Its kernel's release.
        pub kernel: Text<128>,
        /// Its machine, as in `x86_64`.
        pub architecture: Text<64>,
        /// Processors that the daemon may use.
        pub cpus: u32,
        /// Memory in bytes.
        pub memory_bytes: u64,
        /// `qemu` or `test`.
        pub driver: Text<64>,
        /// The hypervisor's name and version; empty while not known yet.
        pub hypervisor: Text<128>,
        /// Virtual machines defined.
        pub vms_defined: u32,
        /// Virtual machines with a running hypervisor.
        pub vms_running: u32,
    }
}

wire_struct! {
    /// An accelerator and whether it can be used here.
    pub struct AcceleratorInfo {
        /// `kvm`, `tcg` or `test`.
        pub name: Text<64>,
        /// Whether it was proved usable.
        pub usable: bool,
        /// Which step said no, and how; empty when usable.
        pub why_not: Text<1024>,
    }
}

wire_struct! {
    /// What a definition may ask for on this host.
    pub struct HostCapabilitiesAnswer {
        /// The hypervisor's name and version; empty while not known yet.
        pub hypervisor: Text<128>,
        /// Machine types.
        pub machines: List<Text<64>, 256>,
        /// Processor models.
        pub cpu_models: List<Text<64>, 512>,
        /// Accelerators, the preferred first.
        pub accelerators: List<AcceleratorInfo, 8>,
    }
}

wire_struct! {
    /// What the daemon is.
    pub struct DaemonInfoAnswer {
        /// Its release.
        pub release: Text<64>,
        /// Its process; 0 for whoever is no admin of the host, to whom what follows tells less as well: see SPEC.md.
        pub pid: u32,
        /// When it started, in nanoseconds since 1970-01-01 UTC.
        pub started_ns: u64,
        /// `qemu` or `test`.
        pub driver: Text<64>,
        /// Where definitions lie.
        pub state_dir: Text<1024>,
        /// Where sockets and run records lie.
        pub runtime_dir: Text<1024>,
        /// Where it listens, with the ports that it is bound to.
        pub sockets: List<Text<1024>, 16>,
        /// Connections now.
        pub connections: u32,
        /// Connections at most.
        pub connections_max: u32,
        /// Calls taken since the start.
        pub calls: u64,
        /// The newest event.
        pub events: Cursor,
        /// Log lines that found no room.
        pub log_lines_lost: u64,
    }
}

wire_struct! {
    /// A file that the daemon proves itself with or judges clients by.
    pub struct CertificateInfo {
        /// `server`, `client-ca` or `crl`.
        pub purpose: Text<64>,
        /// Whose it is; of a CRL its issuer.
        pub subject: Text<1024>,
        /// From when it is valid, in seconds since 1970-01-01 UTC; of a CRL when it was made.
        pub not_before_s: u64,
        /// Until when, in the same way; of a CRL when the next is due. 0 if it does not say.
        pub not_after_s: u64,
        /// The SHA-256 of the certificate; zeros for a CRL.
        pub fingerprint: Fixed<32>,
        /// Why it cannot be used; empty if it can.
        pub problem: Text<1024>,
    }
}

wire_struct! {
    /// What the daemon proves itself with and judges clients by; nothing if it does not listen with TLS.
    pub struct HostCertificatesAnswer {
        /// The certificates in use, each chain from its end to its root.
        pub rows: List<CertificateInfo, 64>,
    }
}
