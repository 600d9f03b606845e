//! What a client may say: the union `client_data` of `vmwire.x`.

use super::capture::CaptureOpenCall;
use super::connection::{ConnectionKickCall, ListCall};
use super::console::ConsoleOpenCall;
use super::enrolment::{ClientAddCall, ClientCall, ClientInviteCall, ClientSetRoleCall, EnrollCall};
use super::event::SubscribeCall;
use super::hello::{CancelCall, HelloCall};
use super::list::VmListCall;
use super::operation::{OperationCall, OperationListCall};
use super::stream::{StreamCredit, StreamData, StreamEnd};
use super::vm::{VmCall, VmDefineCall, VmShutdownCall, VmStartCall, VmWaitCall};
use crate::wire_packets;

wire_packets! {
    /// What a client may say, by number. Appended to, never reordered, numbers never reused.
    pub enum ClientData, kinds ClientKind {
        /// Agree on a version.
        0x0001 => Hello(HelloCall),
        /// Are you there?
        0x0002 => Ping,
        /// Give up a call.
        0x0003 => Cancel(CancelCall),
        /// Ask for events.
        0x0004 => Subscribe(SubscribeCall),
        /// No more events.
        0x0005 => Unsubscribe,
        /// What the host is.
        0x0010 => HostInfo,
        /// What a definition may ask for.
        0x0011 => HostCapabilities,
        /// What the daemon is.
        0x0012 => DaemonInfo,
        /// What the daemon proves itself with; minor 2.
        0x0013 => HostCertificates,
        /// Who is connected.
        0x0020 => ConnectionList(ListCall),
        /// Close a connection.
        0x0021 => ConnectionKick(ConnectionKickCall),
        /// What was asked for.
        0x0030 => OperationList(OperationListCall),
        /// What became of one operation.
        0x0031 => OperationShow(OperationCall),
        /// Wait for the end of one operation.
        0x0032 => OperationWait(OperationCall),
        /// Which clients are known; minor 2.
        0x0040 => ClientList(ListCall),
        /// Make a token for a client; minor 2.
        0x0041 => ClientInvite(ClientInviteCall),
        /// Make a client known; minor 2.
        0x0042 => ClientAdd(ClientAddCall),
        /// Give a client another role; minor 2.
        0x0043 => ClientSetRole(ClientSetRoleCall),
        /// Know a client no more; minor 2.
        0x0044 => ClientRemove(ClientCall),
        /// Spend a token; minor 2.
        0x0045 => Enroll(EnrollCall),
        /// Show the packets that pass; minor 2.
        0x0050 => CaptureOpen(CaptureOpenCall),
        /// Names of virtual machines.
        0x0100 => VmNames(ListCall),
        /// All of one virtual machine.
        0x0101 => VmShow(VmCall),
        /// Its definition.
        0x0102 => VmDefinition(VmCall),
        /// Define one.
        0x0103 => VmDefine(VmDefineCall),
        /// Forget one.
        0x0104 => VmUndefine(VmCall),
        /// Chosen fields of chosen ones; minor 1.
        0x0105 => VmList(VmListCall),
        /// Bring the guest up.
        0x0110 => VmStart(VmStartCall),
        /// Ask the guest to go down.
        0x0111 => VmShutdown(VmShutdownCall),
        /// End the guest now.
        0x0112 => VmStop(VmCall),
        /// Ask the guest to go down and come up again.
        0x0113 => VmReboot(VmCall),
        /// Press the reset button.
        0x0114 => VmReset(VmCall),
        /// Let the processors stand still.
        0x0115 => VmPause(VmCall),
        /// Let the processors run.
        0x0116 => VmResume(VmCall),
        /// Wait for a state.
        0x0117 => VmWait(VmWaitCall),
        /// Open the console.
        0x0120 => ConsoleOpen(ConsoleOpenCall),
        /// Ask the guest's agent whether it is there; minor 2.
        0x0130 => AgentPing(VmCall),
        /// A piece of a stream.
        0x1010 => StreamData(StreamData),
        /// Leave to send more of a stream.
        0x1011 => StreamCredit(StreamCredit),
        /// The end of a stream.
        0x1012 => StreamEnd(StreamEnd),
    }
}
