//! What a server may say: the union `server_data` of `vmwire.x`.

use super::capture::CaptureOpenAnswer;
use super::connection::ConnectionListAnswer;
use super::console::ConsoleOpenAnswer;
use super::enrolment::{ClientInfo, ClientInviteAnswer, ClientListAnswer, EnrollAnswer};
use super::event::{Event, Gap, SubscribeAnswer};
use super::failure::Failure;
use super::hello::{CancelAnswer, HelloAnswer, Progress};
use super::host::{DaemonInfoAnswer, HostCapabilitiesAnswer, HostCertificatesAnswer, HostInfoAnswer};
use super::list::VmListAnswer;
use super::operation::{OperationInfo, OperationListAnswer};
use super::stream::{StreamCredit, StreamData, StreamEnd};
use super::vm::{VmDefineAnswer, VmDefinitionAnswer, VmDoneAnswer, VmNamesAnswer, VmShowAnswer, VmWaitAnswer};
use crate::wire_packets;

wire_packets! {
    /// What a server may say, by number. Appended to, never reordered, numbers never reused.
    pub enum ServerData {
        /// A call has no answer.
        0x0000 => Failure(Failure),
        /// The version agreed.
        0x0001 => Hello(HelloAnswer),
        /// Here.
        0x0002 => Ping,
        /// Whether the call was open.
        0x0003 => Cancel(CancelAnswer),
        /// Where the events begin.
        0x0004 => Subscribe(SubscribeAnswer),
        /// No more events come.
        0x0005 => Unsubscribe,
        /// What the host is.
        0x0010 => HostInfo(HostInfoAnswer),
        /// What a definition may ask for.
        0x0011 => HostCapabilities(HostCapabilitiesAnswer),
        /// What the daemon is.
        0x0012 => DaemonInfo(DaemonInfoAnswer),
        /// What the daemon proves itself with; minor 2.
        0x0013 => HostCertificates(HostCertificatesAnswer),
        /// Who is connected.
        0x0020 => ConnectionList(ConnectionListAnswer),
        /// The connection is being closed.
        0x0021 => ConnectionKick,
        /// What was asked for.
        0x0030 => OperationList(OperationListAnswer),
        /// What became of one operation.
        0x0031 => OperationShow(OperationInfo),
        /// The operation has ended.
        0x0032 => OperationWait(OperationInfo),
        /// Which clients are known; minor 2.
        0x0040 => ClientList(ClientListAnswer),
        /// The token; minor 2.
        0x0041 => ClientInvite(ClientInviteAnswer),
        /// The client is known; minor 2.
        0x0042 => ClientAdd(ClientInfo),
        /// The client has its role; minor 2.
        0x0043 => ClientSetRole(ClientInfo),
        /// The client is known no more; minor 2.
        0x0044 => ClientRemove,
        /// The certificate; minor 2.
        0x0045 => Enroll(EnrollAnswer),
        /// The capture runs; minor 2.
        0x0050 => CaptureOpen(CaptureOpenAnswer),
        /// Names of virtual machines.
        0x0100 => VmNames(VmNamesAnswer),
        /// All of one virtual machine.
        0x0101 => VmShow(VmShowAnswer),
        /// Its definition.
        0x0102 => VmDefinition(VmDefinitionAnswer),
        /// It was defined.
        0x0103 => VmDefine(VmDefineAnswer),
        /// It was forgotten.
        0x0104 => VmUndefine(VmDoneAnswer),
        /// Chosen fields of chosen ones; minor 1.
        0x0105 => VmList(VmListAnswer),
        /// The guest is up.
        0x0110 => VmStart(VmDoneAnswer),
        /// The guest is down.
        0x0111 => VmShutdown(VmDoneAnswer),
        /// The guest is gone.
        0x0112 => VmStop(VmDoneAnswer),
        /// The guest came up again.
        0x0113 => VmReboot(VmDoneAnswer),
        /// The guest was reset.
        0x0114 => VmReset(VmDoneAnswer),
        /// The processors stand still.
        0x0115 => VmPause(VmDoneAnswer),
        /// The processors run.
        0x0116 => VmResume(VmDoneAnswer),
        /// The state has come.
        0x0117 => VmWait(VmWaitAnswer),
        /// The console is open.
        0x0120 => ConsoleOpen(ConsoleOpenAnswer),
        /// The guest's agent has answered; minor 2.
        0x0130 => AgentPing,
        /// How far a call has come.
        0x1000 => Progress(Progress),
        /// Something happened.
        0x1001 => Event(Event),
        /// Events were lost.
        0x1002 => Gap(Gap),
        /// A piece of a stream.
        0x1010 => StreamData(StreamData),
        /// Leave to send more of a stream.
        0x1011 => StreamCredit(StreamCredit),
        /// The end of a stream.
        0x1012 => StreamEnd(StreamEnd),
    }
}
