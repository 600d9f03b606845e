//! What was asked for: list, show, wait.

use vmwire_protocol::message::{Failure, OperationInfo, OperationListAnswer, OperationListCall, ServerData};

use vmwire_protocol::xdr::{self, Wire};

use super::calls::Subject;
use super::client::ConnectionId;
use super::convert;
use super::page::{self, Page};
use super::{Dispatch, Outcome, Reply};
use crate::model::OperationId;

impl Dispatch {
    pub(super) fn operation_list(
        &self,
        asker: ConnectionId,
        call: &OperationListCall,
    ) -> Result<OperationListAnswer, Failure> {
        let after = OperationId(page::number_after(&call.after)?);
        // By name as well as by identity: the list also tells of virtual machines that are gone.
        let chosen = self.operations.after(after).filter(|operation| {
            let (id, name) = &operation.vm;
            let meant = call.vm.is_empty() || call.vm == name.as_str() || call.vm == id.to_string().as_str();
            meant && self.sees_operation(asker, operation)
        });
        // Only a failure is long, and few operations have one.
        let bytes = |row: &OperationInfo| {
            let mut failure = Vec::new();
            let encoded = row.failure.as_ref().map_or(Ok(()), |value| xdr::encode(&mut failure, value));
            debug_assert!(encoded.is_ok(), "{encoded:?}");
            OperationInfo::BYTES_MAX - Failure::BYTES_MAX + failure.len()
        };
        let candidates = chosen.map(|operation| (operation.id, operation));
        let Page { rows, next, .. } =
            Page::of(candidates, call.rows_max, |operation, _| Some(convert::operation(operation)), bytes);
        Ok(OperationListAnswer { rows, next })
    }

    pub(super) fn operation_show(&self, asker: ConnectionId, id: u64) -> Result<OperationInfo, Failure> {
        self.operation_seen(asker, id).map(convert::operation)
    }

    pub(super) fn operation_wait(&self, asker: ConnectionId, id: u64) -> Outcome {
        let operation = self.operation_seen(asker, id)?;
        Ok(if operation.state.is_over() {
            Reply::Now(ServerData::OperationWait(convert::operation(operation)))
        } else {
            Reply::Later(Subject::OperationEnd(operation.id))
        })
    }
}
