//! The calls as types: what is sent, what comes back, and whether the library may repeat it by itself.
//!
//! Several calls of the wire share a body, so each call has a type of its own here; [`Connection::call`] then knows the
//! type of its answer.
//!
//! [`Connection::call`]: crate::connection::Connection::call

use vmwire_protocol::message::{
    CancelAnswer, CancelCall, CaptureOpenAnswer, CaptureOpenCall, ClientAddCall, ClientCall, ClientData, ClientInfo,
    ClientInviteAnswer, ClientInviteCall, ClientListAnswer, ClientSetRoleCall, ConnectionKickCall,
    ConnectionListAnswer, ConsoleOpenAnswer, ConsoleOpenCall, DaemonInfoAnswer, EnrollAnswer, EnrollCall,
    HostCapabilitiesAnswer, HostCertificatesAnswer, HostInfoAnswer, ListCall, OperationCall, OperationInfo,
    OperationListAnswer, OperationListCall, ServerData, SubscribeAnswer, SubscribeCall, VmCall, VmDefineAnswer,
    VmDefineCall, VmDefinitionAnswer, VmDoneAnswer, VmListAnswer, VmListCall, VmNamesAnswer, VmShowAnswer,
    VmShutdownCall, VmStartCall, VmWaitAnswer, VmWaitCall,
};

/// A call that the daemon answers exactly once.
pub trait Request {
    /// What it answers.
    type Answer;

    /// Whether the call changes nothing, so that after a lost connection it may be asked again without a question.
    const REPEATABLE: bool;

    /// The call as it is sent.
    fn into_data(self) -> ClientData;

    /// The answer out of what came; `None` when that is the answer to something else.
    fn answer(data: ServerData) -> Option<Self::Answer>;
}

macro_rules! requests {
    ($($(#[$meta:meta])* $kind:ident $name:ident $(($call:ty))? => $answer:tt;)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name $((pub $call))?;

        impl Request for $name {
            type Answer = $answer;
            const REPEATABLE: bool = requests!(@repeatable $kind);

            fn into_data(self) -> ClientData {
                requests!(@data self $name $($call)?)
            }

            fn answer(data: ServerData) -> Option<Self::Answer> {
                requests!(@answer data $name $answer)
            }
        }
    )+};
    (@repeatable read) => { true };
    (@repeatable change) => { false };
    (@data $own:ident $name:ident) => { ClientData::$name };
    (@data $own:ident $name:ident $call:ty) => { ClientData::$name($own.0) };
    (@answer $data:ident $name:ident ()) => {
        match $data {
            ServerData::$name => Some(()),
            _ => None,
        }
    };
    (@answer $data:ident $name:ident $answer:ident) => {
        match $data {
            ServerData::$name(answer) => Some(answer),
            _ => None,
        }
    };
}

requests! {
    /// Is anybody there?
    read Ping => ();
    /// The host's size and how many guests there are.
    read HostInfo => HostInfoAnswer;
    /// What the hypervisor can do on this host.
    read HostCapabilities => HostCapabilitiesAnswer;
    /// The daemon itself.
    read DaemonInfo => DaemonInfoAnswer;
    /// What the daemon proves itself with; minor 2.
    read HostCertificates => HostCertificatesAnswer;
    /// Who is connected.
    read ConnectionList(ListCall) => ConnectionListAnswer;
    /// Ends somebody's connection.
    change ConnectionKick(ConnectionKickCall) => ();
    /// What was asked of virtual machines.
    read OperationList(OperationListCall) => OperationListAnswer;
    /// One operation.
    read OperationShow(OperationCall) => OperationInfo;
    /// One operation, when it has ended.
    read OperationWait(OperationCall) => OperationInfo;
    /// Which clients the daemon knows; minor 2.
    read ClientList(ListCall) => ClientListAnswer;
    /// Makes a token for a client; minor 2.
    change ClientInvite(ClientInviteCall) => ClientInviteAnswer;
    /// Makes a client known by its key; minor 2.
    change ClientAdd(ClientAddCall) => ClientInfo;
    /// Gives a client another role; minor 2.
    change ClientSetRole(ClientSetRoleCall) => ClientInfo;
    /// Has a client known no more; minor 2.
    change ClientRemove(ClientCall) => ();
    /// Spends a token; minor 2.
    change Enroll(EnrollCall) => EnrollAnswer;
    /// The names of the virtual machines.
    read VmNames(ListCall) => VmNamesAnswer;
    /// Chosen fields of chosen virtual machines; minor 1.
    read VmList(VmListCall) => VmListAnswer;
    /// All that is known of one virtual machine.
    read VmShow(VmCall) => VmShowAnswer;
    /// A definition, as it was written.
    read VmDefinition(VmCall) => VmDefinitionAnswer;
    /// Defines a virtual machine.
    change VmDefine(VmDefineCall) => VmDefineAnswer;
    /// Forgets a virtual machine's definition.
    change VmUndefine(VmCall) => VmDoneAnswer;
    /// Starts a guest.
    change VmStart(VmStartCall) => VmDoneAnswer;
    /// Presses the power button and waits for the guest to obey.
    change VmShutdown(VmShutdownCall) => VmDoneAnswer;
    /// Ends a guest now.
    change VmStop(VmCall) => VmDoneAnswer;
    /// Has a guest go down and come up again.
    change VmReboot(VmCall) => VmDoneAnswer;
    /// Presses the reset button.
    change VmReset(VmCall) => VmDoneAnswer;
    /// Lets the processors stand still.
    change VmPause(VmCall) => VmDoneAnswer;
    /// Lets the processors run on.
    change VmResume(VmCall) => VmDoneAnswer;
    /// Waits for a state.
    read VmWait(VmWaitCall) => VmWaitAnswer;
    /// Opens a console; the answer names the stream.
    change ConsoleOpen(ConsoleOpenCall) => ConsoleOpenAnswer;
    /// Asks the agent of a guest whether it is there; minor 2.
    read AgentPing(VmCall) => ();
    /// Has the packets shown that pass; the answer names the stream; minor 2.
    change CaptureOpen(CaptureOpenCall) => CaptureOpenAnswer;
    /// Gives up waiting for a call.
    change Cancel(CancelCall) => CancelAnswer;
    /// Asks for events from some point on.
    change Subscribe(SubscribeCall) => SubscribeAnswer;
    /// Asks for no more events.
    change Unsubscribe => ();
}
