//! What each packet of a client needs of whoever sends it. What a role may do to which virtual machine is the daemon's.
//!
//! One match without a catch-all: a new call does not compile until it is said here who may make it.

use super::client::ClientKind;
use super::hello::role;

/// What is asked of whoever makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// The least role, of [`role`].
    pub role: u32,
    /// Over what it has to be held.
    pub over: Over,
}

/// What a call is about, and so where its role has to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The daemon and its host.
    Host,
    /// Virtual machines: a role over some of them is enough to ask; which ones the call means is seen when its body is
    /// read.
    Vms,
}

impl Right {
    const fn host(role: u32) -> Self {
        Self { role, over: Over::Host }
    }

    const fn vms(role: u32) -> Self {
        Self { role, over: Over::Vms }
    }

    /// What a packet needs. What the session deals with itself, everybody may send who got past the door.
    pub const fn of(kind: ClientKind) -> Self {
        use ClientKind::*;
        match kind {
            Hello | Ping | Cancel | Subscribe | Unsubscribe | StreamData | StreamCredit | StreamEnd => {
                Self::host(role::OBSERVER)
            }
            HostInfo | HostCapabilities | DaemonInfo | ConnectionList => Self::host(role::OBSERVER),
            HostCertificates => Self::host(role::OBSERVER),
            ConnectionKick => Self::host(role::ADMIN),
            ClientList | ClientInvite | ClientAdd | ClientSetRole | ClientRemove => Self::host(role::ADMIN),
            CaptureOpen => Self::host(role::ADMIN),
            // Whoever holds a token has no role yet: the token is what is judged.
            Enroll => Self::host(role::OBSERVER),
            OperationList | OperationShow | OperationWait => Self::host(role::OBSERVER),
            VmNames | VmShow | VmDefinition | VmList | VmWait => Self::vms(role::OBSERVER),
            VmStart | VmShutdown | VmStop | VmReboot | VmReset | VmPause | VmResume => Self::vms(role::OPERATOR),
            ConsoleOpen | AgentPing => Self::vms(role::OPERATOR),
            VmDefine | VmUndefine => Self::vms(role::ADMIN),
        }
    }
}
