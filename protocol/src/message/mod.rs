//! What is said: two unions, one per direction, and a room per noun. `vmwire.x` is the authority.

mod capture;
mod client;
mod connection;
mod console;
mod enrolment;
mod event;
mod failure;
mod filter;
mod hello;
mod host;
mod list;
mod named;
mod operation;
mod pattern;
mod procedure;
mod rights;
mod server;
mod stream;
mod vm;

pub use capture::{CaptureOpenAnswer, CaptureOpenCall, CaptureRecord};
pub use client::{ClientData, ClientKind};
pub use connection::{ConnectionInfo, ConnectionKickCall, ConnectionListAnswer, ListCall};
pub use console::{ConsoleOpenAnswer, ConsoleOpenCall, console_mode};
pub use enrolment::{
    ClientAddCall, ClientCall, ClientInfo, ClientInviteAnswer, ClientInviteCall, ClientListAnswer, ClientSetRoleCall,
    EnrollAnswer, EnrollCall, client_change, client_state,
};
pub use event::{
    Cursor, Event, EventCertificate, EventClientChanged, EventConsoleWriter, EventDaemonStarted, EventOperation,
    EventVmDefined, EventVmMonitor, EventVmReset, EventVmState, Gap, SubscribeAnswer, SubscribeCall,
    certificate_change, event_kind,
};
pub use failure::{Failure, FailureDetail, code};
pub use filter::{FilterError, VmCondition};
pub use hello::{CancelAnswer, CancelCall, HelloAnswer, HelloCall, Progress, capability, role};
pub use host::{
    AcceleratorInfo, CertificateInfo, DaemonInfoAnswer, HostCapabilitiesAnswer, HostCertificatesAnswer, HostInfoAnswer,
};
pub use list::{VmCell, VmFilter, VmListAnswer, VmListCall, VmRow, filter_comparison, vm_field};
pub use operation::{OperationCall, OperationInfo, OperationListAnswer, OperationListCall, operation_state};
pub use pattern::{PATTERN_BYTES_MAX, Pattern};
pub use procedure::{PROCEDURES, Procedure, number};
pub use rights::{Over, Right};
pub use server::ServerData;
pub use stream::{StreamCredit, StreamData, StreamEnd, stream_flag};
pub use vm::{
    VmCall, VmDefineAnswer, VmDefineCall, VmDefinitionAnswer, VmDisk, VmDoneAnswer, VmInfo, VmNamesAnswer, VmNic,
    VmRef, VmShowAnswer, VmShutdownCall, VmStartCall, VmWaitAnswer, VmWaitCall, shutdown_then, state_reason, vm_state,
};
